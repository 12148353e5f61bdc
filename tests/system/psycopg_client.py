"""What applications do with psycopg 3: parameters, transactions, server-side cursors, COPY in text and binary."""

import datetime
import sys

import psycopg

where = f"host=127.0.0.1 port={sys.argv[1]} user=root dbname=driven"
utc = datetime.timezone.utc

with psycopg.connect(where) as connection:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE p (ts TIMESTAMP, n INT, x DOUBLE, s VARCHAR(20))")
        start = datetime.datetime(2025, 1, 1, tzinfo=utc)
        rows = [(start + datetime.timedelta(seconds=i), i, i / 4, f"row {i}") for i in range(100)]
        cursor.executemany("INSERT INTO p VALUES (%s, %s, %s, %s)", rows)
        cursor.execute("SELECT ts, n, x, s FROM p WHERE n >= %s ORDER BY ts", (90,))
        assert cursor.fetchall() == rows[90:], "own rows of an open transaction"
    connection.commit()

    with connection.cursor(name="served") as cursor:
        cursor.execute("SELECT n FROM p ORDER BY ts")
        assert [n for (n,) in cursor.fetchmany(30)] == list(range(30))
        assert [n for (n,) in cursor.fetchall()] == list(range(30, 100))
    connection.commit()

    with connection.cursor(binary=True) as cursor:
        cursor.execute("SELECT ts, n, x, s FROM p ORDER BY ts LIMIT 1")
        assert cursor.fetchone() == rows[0], "binary results"

    with connection.cursor() as cursor:
        with cursor.copy("COPY p FROM STDIN") as copy:
            for i in range(100, 200):
                copy.write_row((start + datetime.timedelta(seconds=i), i, i / 4, None))
        with cursor.copy("COPY p (ts, n) FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["timestamptz", "int4"])
            for i in range(200, 300):
                copy.write_row((start + datetime.timedelta(seconds=i), i))
        cursor.execute("SELECT count(*), count(x), count(s) FROM p")
        assert cursor.fetchone() == (300, 200, 100)
        with cursor.copy("COPY (SELECT n FROM p ORDER BY ts LIMIT 2) TO STDOUT (FORMAT BINARY)") as copy:
            copy.set_types(["int4"])
            assert list(copy.rows()) == [(0,), (1,)]

    connection.rollback()
    try:
        connection.execute("SELECT nosuch FROM p")
    except psycopg.errors.UndefinedColumn:
        connection.rollback()
    else:
        raise AssertionError("an unknown column was taken")
    assert connection.execute("SELECT count(*) FROM p").fetchone() == (100,), "COPY was rolled back"
