-- A reminder that services end is about a subscription, not about an order.

ALTER TABLE seatline.effects ALTER COLUMN order_number DROP NOT NULL;
COMMENT ON COLUMN seatline.effects.order_number IS 'NULL if it is not about an order.';
