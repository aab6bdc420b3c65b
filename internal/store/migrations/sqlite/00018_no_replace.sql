-- +goose Up
-- In SQLite a statement can replace a row without meeting the triggers of DELETE, unless
-- its connection asked for them (recursive_triggers). So what proves refuses a second row
-- of one key itself. Of checkpoints the first of a size stays, as the program has it.

-- In this database's own words, to the end of them:

-- +goose StatementBegin
CREATE TRIGGER audit_no_replace BEFORE INSERT ON audit
WHEN EXISTS (SELECT 1 FROM audit WHERE organization = NEW.organization AND seq = NEW.seq)
BEGIN
    SELECT RAISE(ABORT, 'audit is append-only');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER movements_no_replace BEFORE INSERT ON movements
WHEN EXISTS (SELECT 1 FROM movements WHERE organization = NEW.organization AND seq = NEW.seq AND n = NEW.n)
BEGIN
    SELECT RAISE(ABORT, 'movements is append-only');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER openings_no_replace BEFORE INSERT ON openings
WHEN EXISTS (SELECT 1 FROM openings WHERE organization = NEW.organization AND scope = NEW.scope AND target = NEW.target AND currency = NEW.currency AND name = NEW.name)
BEGIN
    SELECT RAISE(ABORT, 'openings is append-only');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER checkpoints_no_replace BEFORE INSERT ON checkpoints
WHEN EXISTS (SELECT 1 FROM checkpoints WHERE organization = NEW.organization AND size = NEW.size)
BEGIN
    SELECT RAISE(IGNORE);
END;
-- +goose StatementEnd

-- The end of them.
