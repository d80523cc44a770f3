-- A batch comes as few long texts and is taken apart here: writing arrays out cost its writer more than deciding it.

DROP FUNCTION seatline.append;

CREATE FUNCTION seatline.append(
    read_streams text, read_versions bigint[],
    command_ids text, fingerprints bytea[], outcomes text, bodies text, offsets bigint[],
    streams text, versions bigint[], topics text, states text, subjects text,
    due_streams text, due_dates date[]
) RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    reads CONSTANT text[] := string_to_array(read_streams, E'\x1f');
    ids CONSTANT text[] := string_to_array(command_ids, E'\x1f');
    ends CONSTANT text[] := string_to_array(outcomes, E'\x1f');
    answers CONSTANT text[] := string_to_array(bodies, E'\x1f');
    places CONSTANT text[] := string_to_array(streams, E'\x1f');
    types CONSTANT text[] := string_to_array(topics, E'\x1f');
    contents CONSTANT text[] := string_to_array(states, E'\x1f');
    concerned CONSTANT text[] := string_to_array(subjects, E'\x1f');
    closings CONSTANT text[] := string_to_array(due_streams, E'\x1f');
    commands CONSTANT int := cardinality(offsets);
    events CONSTANT int := cardinality(versions);
    head bigint;
BEGIN
    -- A separator inside a value would move all that follows it into other rows.
    IF cardinality(reads) <> cardinality(read_versions)
        OR cardinality(closings) <> cardinality(due_dates)
        OR (cardinality(ids), cardinality(fingerprints), cardinality(ends), cardinality(answers))
            <> (commands, commands, commands, commands)
        OR (cardinality(places), cardinality(types), cardinality(contents), cardinality(concerned))
            <> (events, events, events, events)
    THEN
        RAISE data_exception USING MESSAGE = 'the columns of a batch are not equally long';
    END IF;
    -- One writer at a time: positions are commit order, so a reader that has seen one has seen all before it.
    PERFORM pg_advisory_xact_lock(7328041);
    IF EXISTS (
        SELECT FROM unnest(reads, read_versions) AS seen (stream, version)
        JOIN seatline.stored_events ON originator_id = stream AND originator_version = version + 1
    ) THEN
        RAISE serialization_failure USING MESSAGE = 'a stream that was read has been written meanwhile';
    END IF;
    SELECT coalesce(max(notification_id), 0) INTO head FROM seatline.stored_events;
    INSERT INTO seatline.answers (command_id, fingerprint, outcome, body, position)
        SELECT command_id, fingerprint, outcome, body, head + "offset"
        FROM unnest(ids, fingerprints, ends, answers, offsets)
            AS answer (command_id, fingerprint, outcome, body, "offset");
    IF events > 0 THEN
        INSERT INTO seatline.stored_events
            (originator_id, originator_version, topic, state, subject, notification_id)
            SELECT stream, version, topic, convert_to(state, 'UTF8'), subject, head + place
            FROM unnest(places, versions, types, contents, concerned) WITH ORDINALITY
                AS event (stream, version, topic, state, subject, place);
        PERFORM pg_notify('seatline_events', (head + events)::text);
    END IF;
    IF cardinality(closings) > 0 THEN
        DELETE FROM seatline.due WHERE stream = ANY (closings);
        INSERT INTO seatline.due (stream, due_on)
            SELECT stream, due_on FROM unnest(closings, due_dates) AS changed (stream, due_on)
            WHERE due_on IS NOT NULL;
    END IF;
    RETURN head;
END
$$;
