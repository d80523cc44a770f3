-- For readers of the views: how far these have got, and waiting until they have got somewhere.

CREATE FUNCTION seatline.reached(views text[]) RETURNS bigint
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(min(coalesce(position, 0)), 0)
    FROM seatline.views AS live LEFT JOIN seatline.positions ON reader = format('view:%s:%s', name, generation)
    WHERE views = '{}' OR name = ANY (views)
$$;

CREATE FUNCTION panel.position(views text[] DEFAULT '{}') RETURNS bigint
LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    unknown text;
BEGIN
    SELECT asked INTO unknown FROM unnest(views) AS asked
        WHERE NOT EXISTS (SELECT FROM seatline.views WHERE name = asked) LIMIT 1;
    IF FOUND THEN
        RAISE undefined_table USING MESSAGE = format('there is no view panel.%I', unknown);
    END IF;
    RETURN seatline.reached(views);
END
$$;
COMMENT ON FUNCTION panel.position IS 'The position in the log that all views, or those named, have reached.';

CREATE FUNCTION panel.wait_for(wanted bigint, seconds double precision DEFAULT 10, views text[] DEFAULT '{}')
RETURNS boolean
LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    began CONSTANT timestamptz := clock_timestamp();
    waited double precision := 0;
BEGIN
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RAISE invalid_transaction_state USING
            MESSAGE = 'panel.wait_for sees nothing new in a transaction that keeps its snapshot',
            HINT = 'Wait first, outside of a transaction or in READ COMMITTED, and begin this one afterwards.';
    END IF;
    IF seconds NOT BETWEEN 0 AND 3600 THEN
        RAISE invalid_parameter_value USING MESSAGE = 'panel.wait_for waits for 0 to 3600 seconds';
    END IF;
    -- A standby may still be behind the answers that come from its primary.
    IF NOT pg_is_in_recovery() AND wanted > (SELECT coalesce(max(notification_id), 0) FROM seatline.stored_events) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('position %s has not been given out', wanted),
            HINT = 'Wait for the position in an answer from this very database.';
    END IF;
    IF panel.position(views) >= wanted THEN
        RETURN true;
    END IF;
    WHILE waited < seconds LOOP
        -- What a reader loses by sleeping is a millisecond, or a twentieth of what it has waited anyway.
        PERFORM pg_sleep(least(greatest(0.001, waited / 20), 0.02, seconds - waited));
        IF seatline.reached(views) >= wanted THEN
            RETURN true;
        END IF;
        waited := extract(epoch FROM clock_timestamp() - began);
    END LOOP;
    RETURN false;
END
$$;
COMMENT ON FUNCTION panel.wait_for IS 'Whether all views, or those named, have reached a position within so many seconds.';

REVOKE ALL ON FUNCTION seatline.reached, panel.position, panel.wait_for FROM PUBLIC;
GRANT EXECUTE ON FUNCTION panel.position, panel.wait_for TO panel_reader;
