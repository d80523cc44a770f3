-- Views rebuilt in parts beside the live ones, the last one kept; homes that a view could not go on with.

-- Parts are ranges of these columns, which bytes order alike everywhere.
ALTER TABLE seatline.stored_events
    ALTER COLUMN originator_id TYPE text COLLATE "C",
    ALTER COLUMN subject TYPE text COLLATE "C";

ALTER TABLE seatline.views
    ADD COLUMN previous_generation int,
    ADD COLUMN previous_version int,
    ADD COLUMN previous_columns text[];
COMMENT ON COLUMN seatline.views.previous_generation IS 'What the view showed before its last rebuild, to which it can go back.';

CREATE TABLE seatline.rebuilds (
    view text PRIMARY KEY,
    handlers text NOT NULL,
    generation int NOT NULL,
    goal bigint NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN seatline.rebuilds.handlers IS 'Version and digest of the code: only the same may go on with a build.';
COMMENT ON COLUMN seatline.rebuilds.goal IS 'The parts hold the events up to this position; from there on the generation is folded like a live one.';

CREATE TABLE seatline.rebuild_parts (
    view text NOT NULL REFERENCES seatline.rebuilds ON DELETE CASCADE,
    place int NOT NULL,
    after text COLLATE "C" NOT NULL,
    up_to text COLLATE "C" NOT NULL,
    events int NOT NULL,
    done boolean NOT NULL DEFAULT false,
    PRIMARY KEY (view, place)
);
COMMENT ON TABLE seatline.rebuild_parts IS 'Ranges of homes, each built in one transaction, by whoever is free.';

CREATE TABLE seatline.parked (
    reader text NOT NULL,
    home text NOT NULL,
    subject text NOT NULL,
    event_id text NOT NULL,
    position bigint NOT NULL,
    error text NOT NULL,
    parked_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (reader, home)
);
COMMENT ON TABLE seatline.parked IS 'Homes whose rows a view leaves as they were before an event that its handlers could not take.';

CREATE VIEW seatline.readers AS
    SELECT reader, position, moved_at FROM seatline.positions
    WHERE reader NOT LIKE 'view:%'
        OR reader IN (SELECT format('view:%s:%s', name, generation) FROM seatline.views);
COMMENT ON VIEW seatline.readers IS 'Positions without those of tables that are only being built, or kept to go back to.';
