-- How far the commands of each partition have been decided, and what could not be read; written with the answers.

CREATE TABLE seatline.inbox (
    topic text NOT NULL,
    partition int NOT NULL,
    epoch bigint NOT NULL DEFAULT 1,
    next_offset bigint NOT NULL,
    answered_offset bigint NOT NULL,
    moved_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, partition)
);
COMMENT ON COLUMN seatline.inbox.epoch IS 'Raised by each worker that takes the partition over: whoever had it before can move nothing any more.';
COMMENT ON COLUMN seatline.inbox.next_offset IS 'All before it is decided.';
COMMENT ON COLUMN seatline.inbox.answered_offset IS 'The answers to all before it are with the broker.';

CREATE TABLE seatline.dead_letters (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic text NOT NULL,
    partition int NOT NULL,
    "offset" bigint NOT NULL,
    key bytea,
    value bytea,
    header_names bytea[] NOT NULL,
    header_values bytea[] NOT NULL,
    reason text NOT NULL,
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'retried', 'skipped')),
    decided_by text,
    decided_because text,
    changed_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (topic, partition, "offset")
);
COMMENT ON TABLE seatline.dead_letters IS 'Records of the commands'' topic that can''t be read, byte for byte, until a person has decided.';
CREATE INDEX dead_letters_open ON seatline.dead_letters (id) WHERE state = 'open';

CREATE FUNCTION seatline.move_inbox(
    moved_topic text, partitions int[], epochs bigint[], was bigint[], becomes bigint[], answered bigint[]
) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    moved bigint;
BEGIN
    -- The same lock as `append`, and before any row, so that two workers never wait for each other.
    PERFORM pg_advisory_xact_lock(7328041);
    UPDATE seatline.inbox AS inbox
        SET next_offset = share.becomes, answered_offset = share.answered, moved_at = now()
        FROM unnest(partitions, epochs, was, becomes, answered) AS share (partition, epoch, was, becomes, answered)
        WHERE inbox.topic = moved_topic AND inbox.partition = share.partition
            AND inbox.epoch = share.epoch AND inbox.next_offset = share.was;
    GET DIAGNOSTICS moved = ROW_COUNT;
    IF moved <> cardinality(partitions) THEN
        RAISE EXCEPTION USING ERRCODE = 'SL001', MESSAGE = 'another worker has taken the partition over';
    END IF;
END
$$;
