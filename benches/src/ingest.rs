//! Loads: rows per second of wall time, and per second of the server's CPU.

use std::time::Instant;

use bytes::Bytes;
use futures::SinkExt;
use futures::future::join_all;
use tokio_postgres::Client;

use crate::tsbs::{Form, Hosts, Rows};
use crate::{Subject, cpu};

/// Times of all hosts that are made, and then sent, at once: ten minutes.
const TICKS: usize = 60;

/// One load.
pub(crate) struct Load {
    rows: usize,
    seconds: f64,
    cpu_seconds: f64,
}

/// Makes the table and loads all rows. Making the data is not counted.
pub(crate) async fn load(subject: &Subject, mut hosts: Hosts, hours: i64, form: Form, table: &str) -> Load {
    for sql in hosts.schema(table, subject.dialect) {
        subject.client.batch_execute(&sql).await.unwrap_or_else(|error| panic!("{}: {error:?}", subject.name));
    }
    let mut load = Load { rows: 0, seconds: 0.0, cpu_seconds: 0.0 };
    for _ in 0..hours as usize * 360 / TICKS {
        let rows = hosts.next(TICKS);
        let pieces = rows.pieces(form, table, subject.dialect);
        let (start, cpu) = (Instant::now(), cpu::seconds(subject.pid));
        if form == Form::Insert {
            insert(subject, &pieces).await;
        } else {
            let taken = copy(&subject.client, &Rows::copy(form, table, subject.dialect), pieces).await;
            assert_eq!(taken as usize, rows.len(), "{}: every row arrives", subject.name);
        }
        load.rows += rows.len();
        load.seconds += start.elapsed().as_secs_f64();
        load.cpu_seconds += cpu::seconds(subject.pid) - cpu;
    }
    // What is still to be done in the background belongs to the load.
    let cpu = cpu::seconds(subject.pid);
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    load.cpu_seconds += cpu::seconds(subject.pid) - cpu;
    load
}

async fn copy(client: &Client, sql: &str, pieces: Vec<Bytes>) -> u64 {
    let sink = client.copy_in(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let mut sink = Box::pin(sink);
    for piece in pieces {
        sink.feed(piece).await.expect("data is taken");
    }
    sink.as_mut().finish().await.unwrap_or_else(|error| panic!("{sql}: {error:?}"))
}

/// Each client has every n-th statement.
async fn insert(subject: &Subject, pieces: &[Bytes]) {
    let clients: Vec<&Client> = std::iter::once(&subject.client).chain(&subject.more).collect();
    let mut sending = Vec::new();
    for (at, client) in clients.iter().enumerate() {
        let own: Vec<&Bytes> = pieces.iter().skip(at).step_by(clients.len()).collect();
        sending.push(async move {
            for piece in own {
                let sql = std::str::from_utf8(piece).expect("SQL is text");
                client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{}: {error:?}", subject.name));
            }
        });
    }
    join_all(sending).await;
}

pub(crate) fn print(form: Form, ours: &Load, theirs: Option<&Load>) {
    let rate = |load: &Load| load.rows as f64 / load.seconds;
    let cpu_rate = |load: &Load| load.rows as f64 / load.cpu_seconds.max(0.01);
    print!("{:<26} {:>12.0} {:>12.0}", form.name(), rate(ours), cpu_rate(ours));
    match theirs {
        Some(theirs) => {
            println!(" {:>12.0} {:>12.0} {:>7.1}x", rate(theirs), cpu_rate(theirs), cpu_rate(ours) / cpu_rate(theirs))
        }
        None => println!(),
    }
}
