"""Runs queries on an engine inside this process, with one thread, and prints what each took.

usage: peers.py DuckDB|ClickHouse DATA.csv QUERIES.tsv

Lines on stdout: `load, seconds, CPU seconds`, then `query, median ms, least ms, rows, sum of all numbers`; the first
instance of each query only warms up. Counting rows and adding numbers up is not timed.
"""

import sys
import tempfile
import time
from itertools import groupby

GAUGES = ["usage_user", "usage_system", "usage_idle", "usage_nice", "usage_iowait", "usage_irq", "usage_softirq",
          "usage_steal", "usage_guest", "usage_guest_nice"]


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

    def run(self, sql):
        return self.connection.execute(sql).fetchnumpy()

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

    def run(self, sql):
        return self.session.query(sql.replace(" FROM cpu", " FROM b.cpu") + " SETTINGS max_threads = 1", "TabSeparated")

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
    name, data, queries = sys.argv[1:]
    engine = {"DuckDB": DuckDB, "ClickHouse": ClickHouse}[name]()
    start, cpu = time.perf_counter(), time.process_time()
    engine.load(data)
    print("load", f"{time.perf_counter() - start:.2f}", f"{time.process_time() - cpu:.2f}", sep="\t")
    lines = [line.rstrip("\n").split("\t") for line in open(queries)]
    for query, instances in groupby(lines, key=lambda line: line[0]):
        times, rows, total = [], 0, 0.0
        for number, (_, sql) in enumerate(instances):
            start = time.perf_counter()
            answer = engine.run(sql)
            elapsed = time.perf_counter() - start
            if number > 0:
                times.append(elapsed * 1e3)
                more, numbers = engine.digest(answer)
                rows, total = rows + more, total + numbers
        times.sort()
        print(query, f"{times[len(times) // 2]:.3f}", f"{times[0]:.3f}", rows, repr(total), sep="\t")


main()
