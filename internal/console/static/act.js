// act.js: passkeys on the pages of the console. Nothing else signs here.
//
// A form names what it does, and the script does it; there is no other code on
// the page. What the server answers is JSON of the operation, or a problem.
//
//   <form data-act="create_run">        an operation that a person signs (RULES 1)
//   <form data-do="deny">               one that needs no signature
//   <form data-enter="sign_in">         sign_in, set_up, accept_invitation, recover_access: begins a session
//   <form data-answer="NONCE">          signs what another program asked for
//
// Members are the form's fields: name="project", nested by dots
// (name="budget.amount"). data-type="number", "boolean", "list" or "numbers" (commas) or "money"
// (20.00, with data-currency and data-exponent) says what a text becomes. Empty fields, unchecked
// boxes and empty lists are left out, as the contract does. name="key" is the
// idempotency key and no member; the name and value of the pressed button are one.
//
//   data-next="/runs/{id}"   where to go then; {id} is a member of the result
//   data-go="redirect"       go to the address in that member of the result
//   data-digest="sha256:..." of data-act="approve" and data-answer: the digest of
//                            what this page shows. Another one is not signed.
//   <output data-result="link" hidden>    shows that member of the result, once
//   <ol data-codes>                       shows recovery codes before going on
//   data-before, data-after               parts of the form that then go, and come
//   <p data-error role="alert" hidden>    shows what went wrong; made if missing
//
// Before a passkey is asked, the script computes the digest of the request and
// compares it with the document; the challenge is SHA-256 of the document's RFC
// 8785 form, computed here (RULES 11). The events "act:done" (detail: the result) and
// "act:failed" (detail: the problem) are dispatched on the form, and bubble.
"use strict";

(() => {
  const text = new TextEncoder();

  const encode = (buffer) => {
    let s = "";
    for (const b of new Uint8Array(buffer)) s += String.fromCharCode(b);
    return btoa(s).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  };
  const decode = (s) => Uint8Array.from(atob(s.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));

  // canonical is RFC 8785 for what we sign: objects, lists, texts, whole numbers.
  const canonical = (v) => {
    if (Array.isArray(v)) return "[" + v.map(canonical).join(",") + "]";
    if (v === null || typeof v !== "object") return JSON.stringify(v);
    return "{" + Object.keys(v).sort().map((k) => JSON.stringify(k) + ":" + canonical(v[k])).join(",") + "}";
  };
  const sha256 = async (v) => crypto.subtle.digest("SHA-256", text.encode(canonical(v)));
  const digest = async (v) => "sha256:" + Array.from(new Uint8Array(await sha256(v)), (b) => b.toString(16).padStart(2, "0")).join("");

  class Problem extends Error {
    constructor(detail, hint, code) {
      super(detail);
      this.hint = hint || "";
      this.code = code || "";
    }
  }

  const post = async (path, body, key) => {
    let response;
    try {
      response = await fetch(path, {
        method: "POST",
        credentials: "same-origin",
        headers: { "Content-Type": "application/json", "Idempotency-Key": key || encode(crypto.getRandomValues(new Uint8Array(16))) },
        body: JSON.stringify(body),
      });
    } catch {
      throw new Problem("The server did not answer.", "Check the connection and press the button again: it is done once.");
    }
    const answer = await response.json().catch(() => ({}));
    if (!response.ok) throw new Problem(answer.detail || "The server refused.", answer.hint, answer.code);
    return answer;
  };
  const run = (operation, body, key) => post("/do/" + operation, body, key);

  const ready = () => {
    if (window.isSecureContext && window.PublicKeyCredential && navigator.credentials) return;
    throw new Problem(
      "This browser cannot use passkeys on this page.",
      "Open the page over https, or at http://localhost on the machine of the server, in a current browser.",
    );
  };

  // refused turns the browser's own words into ours.
  const refused = (e) => {
    if (e instanceof Problem) return e;
    switch (e && e.name) {
      case "NotAllowedError":
        return new Problem("No passkey answered.", "Press the button again and confirm with your passkey; nothing was changed.");
      case "InvalidStateError":
        return new Problem("This device holds one of your passkeys already.", "Use another device or security key.");
      case "SecurityError":
        return new Problem("The address of this page is not the one that passkeys are bound to.", "Open the server by its public_url.");
    }
    return new Problem("The browser could not use a passkey: " + (e && e.message ? e.message : e), "");
  };

  const assertion = async (challenge, rp, credentials) => {
    ready();
    const got = await navigator.credentials.get({
      publicKey: {
        challenge,
        rpId: rp,
        userVerification: "required",
        allowCredentials: (credentials || []).map((id) => ({ type: "public-key", id: decode(id) })),
      },
    });
    return {
      credential: got.id,
      authenticator_data: encode(got.response.authenticatorData),
      client_data: encode(got.response.clientDataJSON),
      signature: encode(got.response.signature),
    };
  };

  // sign answers a challenge whose document must be about what the page shows.
  const sign = async (challenge, fits) => {
    if (!(challenge.passkeys || []).length) throw new Problem("You have no passkey yet.", "Add one: purser passkey add prints a link.");
    if (!fits(challenge.document)) throw new Problem("The server asks to sign something else than this page shows.", "Nothing was signed. Load the page again.");
    const answer = await assertion(await sha256(challenge.document), challenge.rp, challenge.passkeys);
    return { nonce: challenge.nonce, method: "passkey", ...answer };
  };

  const signed = async (operation, request, shown) => {
    ready();
    const challenge = await run("ask_act", { operation, request });
    const own = await digest(request);
    return sign(challenge, (d) =>
      operation === "approve"
        ? d.plan_digest === shown && d.decision === "approve"
        : d.operation === operation && d.request_digest === own,
    );
  };

  const create = async (asked, name) => {
    ready();
    const o = asked.options;
    const made = await navigator.credentials.create({
      publicKey: {
        ...o,
        challenge: decode(o.challenge),
        user: { ...o.user, id: decode(o.user.id) },
        excludeCredentials: o.excludeCredentials.map((c) => ({ ...c, id: decode(c.id) })),
      },
    });
    return {
      person: asked.person,
      challenge: asked.challenge,
      ...(name ? { name } : {}),
      credential: made.id,
      attestation: encode(made.response.attestationObject),
      client_data: encode(made.response.clientDataJSON),
    };
  };

  // money is decimal text in whole minor units: never through a fraction.
  const money = (field, value) => {
    const places = Number(field.dataset.exponent || 2);
    const m = /^(\d{1,12})(?:\.(\d+))?$/.exec(value.trim());
    if (!m || (m[2] || "").length > places) throw new Problem(`"${value}" is not an amount like 20.00.`, "");
    return { amount: Number(m[1] + (m[2] || "").padEnd(places, "0")), currency: field.dataset.currency };
  };

  const whole = (value) => {
    const n = Number(value);
    if (!Number.isSafeInteger(n)) throw new Problem(`"${value}" is not a whole number.`, "");
    return n;
  };

  const valueOf = (field) => {
    if (field.type === "checkbox") return field.checked ? (field.dataset.type === "boolean" ? true : field.value) : undefined;
    if (field.type === "radio" && !field.checked) return undefined;
    if (field.value === "") return undefined;
    switch (field.dataset.type) {
      case "number":
        return whole(field.value);
      case "boolean":
        return field.value === "true" ? true : undefined;
      case "list": {
        const list = field.value.split(",").map((s) => s.trim()).filter(Boolean);
        return list.length ? list : undefined;
      }
      case "numbers": {
        const list = field.value.split(/[\s,%]+/).filter(Boolean).map(whole);
        return list.length ? list : undefined;
      }
      case "money":
        return money(field, field.value);
    }
    return field.value;
  };

  const members = (form) => {
    const out = {};
    for (const field of form.elements) {
      if (!field.name || field.name === "key" || field.disabled || field.type === "submit" || field.type === "button") continue;
      const value = valueOf(field);
      if (value === undefined) continue;
      const path = field.name.split(".");
      let at = out;
      for (const part of path.slice(0, -1)) at = at[part] ??= {};
      const last = path[path.length - 1];
      if (field.type === "checkbox" && field.dataset.type !== "boolean") (at[last] ??= []).push(value);
      else at[last] = value;
    }
    return out;
  };

  const enter = async (form, operation, body, key) => {
    const { passkey_name: name, ...request } = body;
    if (operation === "sign_in") {
      const asked = await run("ask_sign_in", {});
      request.passkey = { challenge: asked.challenge, ...(await assertion(decode(asked.challenge), asked.rp, [])) };
    } else {
      const ask = { for: operation, code: request.code };
      for (const m of ["email", "name"]) if (request[m]) ask[m] = request[m];
      request.passkey = await create(await run("ask_passkey", ask), name);
    }
    return post("/session/" + operation, request, key);
  };

  const answer = async (form, nonce) => {
    const waiting = await run("show_act", { nonce });
    const signature = await sign(waiting, (d) => (d.request_digest || d.plan_digest) === form.dataset.digest);
    return run("answer_act", { nonce, signature });
  };

  const perform = async (form, button) => {
    const key = form.elements.key ? form.elements.key.value : "";
    const body = members(form);
    if (button && button.name) body[button.name] = button.value;
    const { act, enter: how, answer: nonce } = form.dataset;
    if (how) return enter(form, how, body, key);
    if (nonce) return answer(form, nonce);
    if (!act) return run(form.dataset.do, body, key);
    if (act === "add_passkey") {
      ready();
      body.passkey = await create(await run("ask_own_passkey", {}), body.passkey_name);
      delete body.passkey_name;
    }
    body.act = await signed(act, body, form.dataset.digest);
    return run(act, body, key);
  };

  const say = (form, problem) => {
    let at = form.querySelector("[data-error]");
    if (!at) {
      at = document.createElement("p");
      at.dataset.error = "";
      at.className = "note bad";
      at.setAttribute("role", "alert");
      form.append(at);
    }
    at.textContent = problem ? [problem.message, problem.hint].filter(Boolean).join(" ") : "";
    at.hidden = !problem;
    if (problem && problem.code) at.dataset.error = problem.code;
  };

  // show puts what is shown only once on the page. It returns whether to stay.
  const show = (form, result) => {
    let stay = false;
    for (const at of form.querySelectorAll("[data-result]")) {
      const value = result[at.dataset.result];
      if (!value) continue;
      at.textContent = value;
      at.hidden = false;
      stay = true;
    }
    const codes = result.recovery_codes || result.codes;
    const list = form.querySelector("[data-codes]");
    if (list && codes && codes.length) {
      list.replaceChildren(...codes.map((c) => {
        const item = document.createElement("li");
        const code = document.createElement("code");
        code.textContent = c;
        item.append(code);
        return item;
      }));
      stay = true;
    }
    if (!stay) return false;
    for (const at of form.querySelectorAll("[data-before]")) at.hidden = true;
    for (const at of form.querySelectorAll("[data-after]")) at.hidden = false;
    const first = form.querySelector("[data-after] a, [data-after] button, [data-result]");
    if (first) first.focus();
    return true;
  };

  const submit = async (form, button) => {
    if (form.getAttribute("aria-busy") === "true") return;
    form.setAttribute("aria-busy", "true");
    const buttons = form.querySelectorAll("button, input[type=submit]");
    for (const b of buttons) b.disabled = true;
    say(form, null);
    try {
      const result = await perform(form, button);
      form.dispatchEvent(new CustomEvent("act:done", { bubbles: true, detail: result }));
      if (show(form, result)) return;
      if (form.dataset.go) {
        const to = result[form.dataset.go];
        if (!to) throw new Problem("It was done already.", "Start again from the program that you want to connect.");
        location.assign(to);
        return;
      }
      const next = form.dataset.next;
      if (next !== undefined) location.assign(next.replaceAll(/\{(\w+)\}/g, (_, m) => encodeURIComponent(result[m] ?? "")));
      else location.reload();
    } catch (e) {
      const problem = refused(e);
      say(form, problem);
      form.dispatchEvent(new CustomEvent("act:failed", { bubbles: true, detail: problem }));
    } finally {
      form.removeAttribute("aria-busy");
      for (const b of buttons) b.disabled = false;
    }
  };

  // Months begin and end where the person who sets up lives.
  for (const zone of document.querySelectorAll("input[data-zone]")) zone.value = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";

  document.addEventListener("submit", (e) => {
    const form = e.target;
    if (!(form instanceof HTMLFormElement)) return;
    const { act, do: plain, enter: how, answer: nonce } = form.dataset;
    if (!act && !plain && !how && !nonce) return;
    e.preventDefault();
    submit(form, e.submitter);
  });
})();
