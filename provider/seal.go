package provider

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// seal writes an access configuration for the Store, encrypted and bound to its
// resource when a key is set (AES-256-GCM, nonce first).
func (p *Provider) seal(resource string, access map[string]string) ([]byte, error) {
	if len(access) == 0 {
		return nil, nil
	}
	w := writer{b: make([]byte, 0, 128)}
	w.texts(access)
	raw := w.b
	if w.err != nil || p.cfg.SealKey == nil {
		return raw, w.err
	}
	aead, err := p.aead()
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, aead.NonceSize())
	if _, err := io.ReadFull(p.random(), nonce); err != nil {
		return nil, fmt.Errorf("sealing credentials: %w", err)
	}
	return aead.Seal(nonce, nonce, raw, []byte(resource)), nil
}

func (p *Provider) open(resource string, sealed []byte) (map[string]string, error) {
	if len(sealed) == 0 {
		return nil, nil
	}
	raw := sealed
	if p.cfg.SealKey != nil {
		aead, err := p.aead()
		if err != nil {
			return nil, err
		}
		if len(sealed) < aead.NonceSize() {
			return nil, errors.New("opening credentials: too short")
		}
		nonce, text := sealed[:aead.NonceSize()], sealed[aead.NonceSize():]
		if raw, err = aead.Open(nil, nonce, text, []byte(resource)); err != nil {
			return nil, errors.New("opening credentials: wrong key or changed record")
		}
	}
	var access map[string]string
	if err := json.Unmarshal(raw, &access); err != nil {
		return nil, errors.New("opening credentials: not readable")
	}
	return access, nil
}

func (p *Provider) aead() (cipher.AEAD, error) {
	block, err := aes.NewCipher(p.cfg.SealKey)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func (p *Provider) random() io.Reader {
	if p.cfg.Random == nil {
		return rand.Reader
	}
	return p.cfg.Random
}
