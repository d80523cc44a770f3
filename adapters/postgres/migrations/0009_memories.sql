-- What long streams remember, so that a writer that loads one need not replay it from its first event.

CREATE TABLE seatline.memories (
    stream text PRIMARY KEY,
    version bigint NOT NULL,
    memory text NOT NULL
);
COMMENT ON TABLE seatline.memories IS 'A cache: without any of these rows all is the same, and long streams load slower.';
COMMENT ON COLUMN seatline.memories.memory IS 'A digest of the code, the stream and the text, and the text: what doesn''t fit is ignored.';

-- The rows are rewritten again and again: room on their pages spares the index.
ALTER TABLE seatline.memories SET (fillfactor = 50);

CREATE FUNCTION seatline.keep_memories(streams text, versions bigint[], memories text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    places CONSTANT text[] := string_to_array(streams, E'\x1f');
    contents CONSTANT text[] := string_to_array(memories, E'\x1f');
BEGIN
    IF (cardinality(places), cardinality(contents)) <> (cardinality(versions), cardinality(versions)) THEN
        RAISE data_exception USING MESSAGE = 'the columns of the memories are not equally long';
    END IF;
    -- The same lock as `append`, and before any row, so that two writers never wait for each other.
    PERFORM pg_advisory_xact_lock(7328041);
    INSERT INTO seatline.memories AS kept (stream, version, memory)
        SELECT stream, version, memory FROM unnest(places, versions, contents) AS new (stream, version, memory)
        ON CONFLICT (stream) DO UPDATE SET version = excluded.version, memory = excluded.memory;
END
$$;
