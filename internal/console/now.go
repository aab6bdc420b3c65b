package console

// now is the first page: what waits for the person, what runs, what it costs.
func (c *Console) now(*visit) (page, error) {
	return page{title: "Now", parts: []part{{id: "empty", body: emptyNow()}}}, nil
}
