-- A two-minute tour on two years of hourly readings of two electricity transformers.
-- From the project's folder: psql -h 127.0.0.1 -p 5433 -U root -f docs/tour.sql
\set ON_ERROR_STOP on
\pset pager off

\echo '== A database. Readings begin in 2016, so KEEP is longer than the default ten years.'
CREATE DATABASE IF NOT EXISTS power KEEP 36500 DURATION 30 VGROUPS 2;
USE power;

\echo '== A super table: one schema and one set of tags for every transformer.'
CREATE STABLE IF NOT EXISTS transformers (
    ts TIMESTAMP, hufl DOUBLE, hull DOUBLE, mufl DOUBLE, mull DOUBLE, lufl DOUBLE, lull DOUBLE, ot DOUBLE
) TAGS (station VARCHAR(16), region INT);

\echo '== A child table for each transformer.'
CREATE TABLE IF NOT EXISTS etth1 USING transformers TAGS ('north', 1)
             IF NOT EXISTS etth2 USING transformers TAGS ('south', 2);

\echo '== The data, by COPY.'
\copy etth1 FROM 'tests/data/ETTh1.csv' WITH (FORMAT csv, HEADER true)
\copy etth2 FROM 'tests/data/ETTh2.csv' WITH (FORMAT csv, HEADER true)

\echo '== How much there is.'
SELECT tbname, station, count(*), min(ts), max(ts), avg(ot), last(ot)
FROM transformers GROUP BY tbname, station ORDER BY tbname;

\echo '== One row for each week of a month: windows, per transformer.'
SELECT _wstart, tbname, count(*), avg(ot), max(hufl), last(ot)
FROM transformers WHERE ts >= '2017-01-01' AND ts < '2017-02-01'
PARTITION BY tbname INTERVAL(1w) ORDER BY tbname, _wstart;

\echo '== Months, in the calendar of the session.'
SELECT _wstart, avg(ot) AS oil, spread(ot) AS range
FROM etth1 WHERE ts >= '2017-01-01' AND ts < '2017-07-01' INTERVAL(1n);

\echo '== The hottest hours, with the row that each one stands in.'
SELECT ts, tbname, max(ot) FROM transformers;
SELECT ts, ot FROM etth2 ORDER BY ot DESC LIMIT 3;

\echo '== Plain SQL works on the same tables: a join of the two transformers, hour by hour.'
SELECT count(*) AS hours, avg(a.ot - b.ot) AS difference
FROM etth1 a JOIN etth2 b ON a.ts = b.ts;

\echo '== An update is an insert at the same time; columns that are not named keep their values.'
INSERT INTO etth1 (ts, ot) VALUES ('2018-06-26 19:00:00', 11.5);
SELECT ts, hufl, ot FROM etth1 WHERE ts = '2018-06-26 19:00:00';

\echo '== How a query ran.'
EXPLAIN SELECT tbname, avg(ot) FROM transformers GROUP BY tbname;
