-- What people decided about effects, and how often an effect's own process has ended while it was at it.

ALTER TABLE seatline.effects ADD COLUMN interruptions int NOT NULL DEFAULT 0;
COMMENT ON COLUMN seatline.effects.interruptions IS 'Since a person last decided about it.';

CREATE TABLE seatline.effect_decisions (
    effect_id text NOT NULL REFERENCES seatline.effects (id),
    decided_at timestamptz NOT NULL DEFAULT now(),
    operator text NOT NULL,
    decision text NOT NULL CHECK (decision IN ('retry', 'skip')),
    reason text
);
CREATE INDEX effect_decisions_of ON seatline.effect_decisions (effect_id, decided_at);
