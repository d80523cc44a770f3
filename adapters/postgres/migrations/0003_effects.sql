-- What has been done outside, so that a replay or a rebuild does nothing twice.

CREATE TABLE seatline.effects (
    id text PRIMARY KEY,
    worker text NOT NULL,
    subject text NOT NULL,
    order_number text NOT NULL,
    event_id text NOT NULL,
    at timestamptz NOT NULL,
    due_at timestamptz NOT NULL,
    state text NOT NULL DEFAULT 'planned' CHECK (state IN ('planned', 'doing', 'done', 'dropped', 'failed')),
    in_doubt boolean NOT NULL DEFAULT false,
    attempts int NOT NULL DEFAULT 0,
    error text,
    changed_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN seatline.effects.at IS 'Business time of the event.';
COMMENT ON COLUMN seatline.effects.in_doubt IS 'An attempt ended without an answer: it may have been done already.';
CREATE INDEX effects_open ON seatline.effects (worker, due_at) WHERE state IN ('planned', 'doing');
CREATE INDEX effects_attention ON seatline.effects (worker) WHERE state = 'failed' OR in_doubt;
