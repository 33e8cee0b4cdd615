-- Where a rating had an asset moved to: what a person moves back is left there.
ALTER TABLE asset ADD COLUMN moved TEXT;
