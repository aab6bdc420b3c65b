// Checks one record of the log in the browser: RFC 6962 hashes from the record to
// the root, and the signed note of the checkpoint over that root.
"use strict";

(() => {
  const box = document.getElementById("verify");
  if (!box) return;
  const proof = JSON.parse(box.dataset.proof);
  const text = new TextEncoder();
  const bytes = (base64) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const joined = (...parts) => {
    const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
    let at = 0;
    for (const p of parts) {
      out.set(p, at);
      at += p.length;
    }
    return out;
  };
  const sha256 = async (b) => new Uint8Array(await crypto.subtle.digest("SHA-256", b));
  const node = (left, right) => sha256(joined(Uint8Array.of(1), left, right));
  const equal = (a, b) => a.length === b.length && a.every((x, i) => x === b[i]);

  // root follows an inclusion proof (RFC 9162 section 2.1.3.2).
  const root = async (leaf, index, size, path) => {
    let f = index, s = size - 1, hash = leaf;
    for (const p of path) {
      if (s === 0) throw new Error("the proof is longer than the log is deep");
      if (f % 2 === 1 || f === s) {
        hash = await node(p, hash);
        while (f % 2 === 0 && f !== 0) {
          f = Math.floor(f / 2);
          s = Math.floor(s / 2);
        }
      } else {
        hash = await node(hash, p);
      }
      f = Math.floor(f / 2);
      s = Math.floor(s / 2);
    }
    if (s !== 0) throw new Error("the proof is shorter than the log is deep");
    return hash;
  };

  // signedBy checks a note's signature with its verifier key: name+hash+base64 of
  // a byte 1 and an Ed25519 key.
  const signedBy = async (note, key) => {
    const [name, hash, encoded] = [key.slice(0, key.indexOf("+")), ...key.slice(key.indexOf("+") + 1).split(/\+(.*)/s)];
    const raw = bytes(encoded);
    if (raw[0] !== 1 || raw.length !== 33) throw new Error("the public key is of another kind");
    const at = note.lastIndexOf("\n\n");
    const body = note.slice(0, at + 1);
    const line = note.slice(at + 2).split("\n").find((l) => l.startsWith("\u2014 " + name + " "));
    if (!line) throw new Error("the checkpoint is not signed by this key");
    const signature = bytes(line.split(" ")[2]);
    const id = Array.from(signature.slice(0, 4), (b) => b.toString(16).padStart(2, "0")).join("");
    if (id !== hash) throw new Error("the checkpoint is signed by another key");
    const imported = await crypto.subtle.importKey("raw", raw.slice(1), "Ed25519", false, ["verify"]);
    if (!(await crypto.subtle.verify("Ed25519", imported, signature.slice(4), text.encode(body)))) throw new Error("the signature is wrong");
    return body;
  };

  const verify = async () => {
    if (!window.isSecureContext) throw new Error("the browser computes nothing here: open the page over https, or at http://localhost");
    const [, size, hash] = (await signedBy(proof.checkpoint, proof.public_key)).split("\n");
    const leaf = await sha256(joined(Uint8Array.of(0), text.encode(proof.leaf)));
    const computed = await root(leaf, proof.seq - 1, Number(size), (proof.path || []).map(bytes));
    if (!equal(computed, bytes(hash))) throw new Error("the record is not in the tree that was signed");
    return "Verified: record " + proof.seq + " is in the signed log of " + size + " records.";
  };

  document.getElementById("check").addEventListener("click", async () => {
    const verdict = document.getElementById("verdict");
    try {
      verdict.textContent = await verify();
      verdict.className = "note good";
    } catch (e) {
      verdict.textContent = "Not verified: " + e.message + ".";
      verdict.className = "note bad";
    }
  });
})();
