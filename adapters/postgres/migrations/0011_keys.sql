-- Keys under which personal data is stored, and without which nobody reads it any more.

CREATE TABLE seatline.keys (
    owner text COLLATE "C" PRIMARY KEY,
    key bytea NOT NULL CHECK (length(key) = 32)
);
COMMENT ON TABLE seatline.keys IS 'Back it up apart from the rest, and briefly: who has a key and an old copy of the log can read what was erased since.';

CREATE FUNCTION seatline.owner(stream text, subject text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    -- An orphan payment's reference may be a subscription's id, too.
    RETURN CASE WHEN stream IN ('payment/' || subject, 'calendar/' || subject) THEN stream ELSE 'subscription/' || subject END;
COMMENT ON FUNCTION seatline.owner IS 'Whose key seals what is personal in an event.';

CREATE FUNCTION seatline.use_keys(known_owners text, known_keys bytea[], new_owners text, new_keys bytea[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    known CONSTANT text[] := string_to_array(known_owners, E'\x1f');
    new CONSTANT text[] := string_to_array(new_owners, E'\x1f');
BEGIN
    IF (cardinality(known), cardinality(new)) <> (cardinality(known_keys), cardinality(new_keys)) THEN
        RAISE data_exception USING MESSAGE = 'the columns of the keys are not equally long';
    END IF;
    -- The same lock as `append`, and before any row, so that two writers never wait for each other.
    PERFORM pg_advisory_xact_lock(7328041);
    INSERT INTO seatline.keys (owner, key) SELECT owner, key FROM unnest(new, new_keys) AS made (owner, key);
    -- Whoever still seals under a key that was destroyed would write what nobody can ever read.
    IF EXISTS (
        SELECT FROM unnest(known, known_keys) AS used (owner, key)
        WHERE (SELECT kept.key FROM seatline.keys AS kept WHERE kept.owner = used.owner) IS DISTINCT FROM used.key
    ) THEN
        RAISE serialization_failure USING MESSAGE = 'a key has been destroyed meanwhile';
    END IF;
END
$$;

CREATE FUNCTION seatline.destroy_keys(owners text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(7328041);
    DELETE FROM seatline.keys WHERE owner = ANY (string_to_array(owners, E'\x1f'));
END
$$;

-- Made before there were keys, they say in plain who a customer is; they are a cache.
TRUNCATE seatline.memories;
COMMENT ON COLUMN seatline.memories.memory IS 'A digest of the code, the stream and the text, and the text, sealed if it says who somebody is: what doesn''t fit is ignored.';

-- What ANALYZE samples stays in pg_statistic after its row is gone.
ALTER TABLE seatline.keys ALTER COLUMN key SET STATISTICS 0;
ALTER TABLE seatline.dead_letters
    ALTER COLUMN key SET STATISTICS 0,
    ALTER COLUMN value SET STATISTICS 0,
    ALTER COLUMN header_names SET STATISTICS 0,
    ALTER COLUMN header_values SET STATISTICS 0,
    ALTER COLUMN decided_by SET STATISTICS 0,
    ALTER COLUMN decided_because SET STATISTICS 0;
ALTER TABLE seatline.effects ALTER COLUMN error SET STATISTICS 0;
ALTER TABLE seatline.effect_decisions
    ALTER COLUMN operator SET STATISTICS 0,
    ALTER COLUMN reason SET STATISTICS 0;
DO $$
DECLARE
    measured record;
BEGIN
    FOR measured IN
        SELECT attrelid::regclass AS generation, attname FROM pg_attribute
        JOIN pg_class ON pg_class.oid = attrelid AND relkind = 'r' AND relnamespace = 'read_model'::regnamespace
        WHERE (relname ~ '^users_\d+$' AND attname = 'username')
            OR (relname ~ '^payments_\d+$' AND attname = 'order_number')
    LOOP
        EXECUTE format('ALTER TABLE %s ALTER COLUMN %I SET STATISTICS 0', measured.generation, measured.attname);
    END LOOP;
END
$$;

GRANT SELECT, INSERT ON seatline.keys TO seatline_worker;
