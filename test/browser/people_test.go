package browser

import "testing"

func TestTheFirstOwnerSetsUpWithAPasskeyAndSignsInWithIt(t *testing.T) {
	url, link := serve(t)
	b := open(t, url)
	b.visit("/")
	b.at("/sign-in?next=%2F")
	b.visit(link)
	b.fill("#set-up form", "organization", "Analytical")
	b.fill("#set-up form", "name", "Ada")
	b.fill("#set-up form", "email", "ada@example.org")
	b.press("#set-up form")
	b.sees("Keep these recovery codes")
	b.visit("/settings/passkeys")
	b.sees("10 are left")
}
