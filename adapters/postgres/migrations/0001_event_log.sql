-- The log of all events, the kept answers, and what must be true together with them.

CREATE TABLE seatline.stored_events (
    originator_id text NOT NULL,
    originator_version bigint NOT NULL,
    topic text NOT NULL,
    state bytea NOT NULL,
    subject text NOT NULL,
    notification_id bigint NOT NULL,
    PRIMARY KEY (originator_id, originator_version)
);
COMMENT ON COLUMN seatline.stored_events.notification_id IS 'Position: given out under a lock, so it is commit order and has no gaps.';
COMMENT ON COLUMN seatline.stored_events.subject IS 'Whom the event concerns: a subscription, or an orphan payment''s reference.';

CREATE UNIQUE INDEX stored_events_position ON seatline.stored_events (notification_id);
CREATE INDEX stored_events_subject ON seatline.stored_events (subject, notification_id);

CREATE TABLE seatline.answers (
    command_id text PRIMARY KEY,
    fingerprint bytea NOT NULL,
    outcome text NOT NULL,
    body text NOT NULL,
    position bigint NOT NULL
);
COMMENT ON COLUMN seatline.answers.fingerprint IS 'Digest of type and data: the same id with another one is a reuse.';
COMMENT ON COLUMN seatline.answers.body IS 'The rest of the answer as JSON members, beginning with a comma.';

CREATE TABLE seatline.due (
    stream text PRIMARY KEY,
    due_on date NOT NULL
);
COMMENT ON TABLE seatline.due IS 'The first date whose closing has a consequence in a stream; written with its events.';
CREATE INDEX due_on ON seatline.due (due_on, stream);

-- Each draw is a block; the number's last digits are counted in memory.
CREATE SEQUENCE seatline.order_number_blocks START 1000;

CREATE TABLE seatline.positions (
    reader text PRIMARY KEY,
    position bigint NOT NULL DEFAULT 0,
    moved_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE seatline.positions IS 'How far each reader of the log has got; moved in one transaction with what it wrote.';

CREATE FUNCTION seatline.append(
    read_streams text[], read_versions bigint[],
    command_ids text[], fingerprints bytea[], outcomes text[], bodies text[], offsets bigint[],
    streams text[], versions bigint[], topics text[], states bytea[], subjects text[],
    due_streams text[], due_dates date[]
) RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    head bigint;
BEGIN
    -- One writer at a time: positions are commit order, so a reader that has seen one has seen all before it.
    PERFORM pg_advisory_xact_lock(7328041);
    IF EXISTS (
        SELECT FROM unnest(read_streams, read_versions) AS seen (stream, version)
        JOIN seatline.stored_events ON originator_id = stream AND originator_version = version + 1
    ) THEN
        RAISE serialization_failure USING MESSAGE = 'a stream that was read has been written meanwhile';
    END IF;
    SELECT coalesce(max(notification_id), 0) INTO head FROM seatline.stored_events;
    INSERT INTO seatline.answers (command_id, fingerprint, outcome, body, position)
        SELECT command_id, fingerprint, outcome, body, head + "offset"
        FROM unnest(command_ids, fingerprints, outcomes, bodies, offsets)
            AS answer (command_id, fingerprint, outcome, body, "offset");
    IF cardinality(streams) > 0 THEN
        INSERT INTO seatline.stored_events
            (originator_id, originator_version, topic, state, subject, notification_id)
            SELECT stream, version, topic, state, subject, head + place
            FROM unnest(streams, versions, topics, states, subjects) WITH ORDINALITY
                AS event (stream, version, topic, state, subject, place);
        PERFORM pg_notify('seatline_events', (head + cardinality(streams))::text);
    END IF;
    IF cardinality(due_streams) > 0 THEN
        DELETE FROM seatline.due WHERE stream = ANY (due_streams);
        INSERT INTO seatline.due (stream, due_on)
            SELECT stream, due_on FROM unnest(due_streams, due_dates) AS changed (stream, due_on)
            WHERE due_on IS NOT NULL;
    END IF;
    RETURN head;
END
$$;
