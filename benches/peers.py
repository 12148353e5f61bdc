"""Runs queries on an engine inside this process, with one thread, and prints what each took.

usage: peers.py DuckDB|ClickHouse DATA QUERIES.tsv FOLDER

DATA is rows of cpu (`.csv`), or statements to run first, one a line (`.sql`). Lines on stdout: `load, seconds, CPU
seconds, bytes on disk`, then `query, times in ms, rows, sum of all numbers`; the first instance of each query only warms
up. Counting rows and adding numbers up is not timed. The answer of the first instance, after statements of all of them,
is written to FOLDER/ENGINE.QUERY.INSTANCE, values with tabs between them.
"""

import os
import sys
import tempfile
import time
from itertools import groupby

GAUGES = ["usage_user", "usage_system", "usage_idle", "usage_nice", "usage_iowait", "usage_irq", "usage_softirq",
          "usage_steal", "usage_guest", "usage_guest_nice"]


def folder_bytes(folder):
    return sum(os.path.getsize(os.path.join(path, name)) for path, _, names in os.walk(folder) for name in names)


class DuckDB:
    def __init__(self):
        import duckdb

        self.folder = tempfile.TemporaryDirectory()
        self.connection = duckdb.connect(f"{self.folder.name}/duck.db")
        self.connection.execute("SET threads = 1")

    def load(self, data):
        gauges = ", ".join(f"{gauge} BIGINT" for gauge in GAUGES)
        self.connection.execute(f"CREATE TABLE cpu (hostname VARCHAR, ts TIMESTAMP, {gauges})")
        self.connection.execute(f"INSERT INTO cpu SELECT * FROM read_csv('{data}', header = false, auto_detect = true)")
        self.connection.execute("CHECKPOINT")

    def statement(self, sql):
        self.connection.execute(sql)

    def run(self, sql):
        return self.connection.execute(sql).fetchnumpy()

    def rows(self, sql):
        return ["\t".join(str(value) for value in row) for row in self.connection.execute(sql).fetchall()]

    def digest(self, columns):
        rows, total = 0, 0.0
        for values in columns.values():
            rows = len(values)
            if values.dtype.kind in "iuf":
                total += float(values.astype("float64").sum())
        return rows, total


class ClickHouse:
    def __init__(self):
        from chdb import session

        self.folder = tempfile.TemporaryDirectory()
        self.session = session.Session(self.folder.name)
        self.session.query("CREATE DATABASE b ENGINE = Atomic")
        self.session.query("USE b")

    def load(self, data):
        gauges = ", ".join(f"{gauge} Int64" for gauge in GAUGES)
        self.session.query(f"CREATE TABLE b.cpu (hostname LowCardinality(String), ts DateTime('UTC'), {gauges}) "
                           "ENGINE = MergeTree ORDER BY (hostname, ts)")
        self.session.query(f"INSERT INTO b.cpu SELECT * FROM file('{data}', 'CSV') SETTINGS max_threads = 1")
        self.session.query("OPTIMIZE TABLE b.cpu FINAL")

    def statement(self, sql):
        self.session.query(sql)

    def run(self, sql):
        return self.session.query(sql.replace(" FROM cpu", " FROM b.cpu") + " SETTINGS max_threads = 1", "TabSeparated")

    def rows(self, sql):
        return str(self.run(sql)).splitlines()

    def digest(self, answer):
        rows, total = 0, 0.0
        for line in str(answer).splitlines():
            rows += 1
            for cell in line.split("\t"):
                try:
                    total += float(cell)
                except ValueError:
                    pass
        return rows, total


def main():
    name, data, queries, folder = sys.argv[1:]
    engine = {"DuckDB": DuckDB, "ClickHouse": ClickHouse}[name]()
    every = data.endswith(".sql")
    start, cpu = time.perf_counter(), time.process_time()
    if every:
        for sql in open(data):
            engine.statement(sql)
    else:
        engine.load(data)
    print("load", f"{time.perf_counter() - start:.2f}", f"{time.process_time() - cpu:.2f}",
          folder_bytes(engine.folder.name), sep="\t")
    lines = [line.rstrip("\n").split("\t") for line in open(queries)]
    for query, instances in groupby(lines, key=lambda line: line[0]):
        times, rows, total = [], 0, 0.0
        for number, (_, sql) in enumerate(instances):
            if every or number == 0:
                with open(f"{folder}/{name}.{query}.{number}", "w") as out:
                    out.writelines(row + "\n" for row in engine.rows(sql))
            if every:
                continue
            start = time.perf_counter()
            answer = engine.run(sql)
            elapsed = time.perf_counter() - start
            if number > 0:
                times.append(elapsed * 1e3)
                more, numbers = engine.digest(answer)
                rows, total = rows + more, total + numbers
        if not every:
            print(query, ",".join(f"{elapsed:.3f}" for elapsed in times), rows, repr(total), sep="\t")


main()
