//! How a scan travels: its request with the arrays that wait in a transaction, and its rows.
//!
//! Rows are one Arrow IPC stream cut at its messages. A frame is a kind and what belongs to it: [`BEGUN`] says that the
//! scan is under way, [`ROWS`] holds the IPC messages of a batch (the first also those of the schema), [`FAILED`] ends
//! the scan with an error, and [`DONE`] says that nothing is missing.

use std::io;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::buffer::{BooleanBuffer, Buffer};
use arrow::datatypes::{Field, Schema};
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::writer::StreamWriter;
use bytes::{BufMut, Bytes, BytesMut};
use futures::stream::{self, Stream, StreamExt};
use model::scan::{RowStream, ScanRequest};
use model::write::{Change, Keys, NewTable, Overlay, RowBatch, TableRef, Tables, WriteColumn};
use model::{ColumnId, DataType, Error, Result, Suid, TimeRange, Value, VgroupId};
use serde::{Deserialize, Serialize};
use tonic::Status;

use crate::peers::Refusal;
use crate::raft::types::{decode, encode};

const BEGUN: u8 = 0;
const ROWS: u8 = 1;
const FAILED: u8 = 2;
const DONE: u8 = 3;

/// A scan on its way.
#[derive(Serialize, Deserialize)]
pub(super) struct Packed {
    vgroup: VgroupId,
    request: ScanRequest,
    overlay: Vec<PackedChange>,
}

/// A change of an overlay; arrays are an Arrow IPC stream.
#[derive(Serialize, Deserialize)]
enum PackedChange {
    Rows { suid: Suid, version: u32, tables: Vec<TableRef>, ordinals: Vec<u32>, keys: Keys, columns: PackedColumns },
    CreateTables { suid: Suid, tables: Vec<NewTable>, if_not_exists: bool },
    DropTables { suid: Suid, names: Vec<String> },
    DropRelation { suid: Suid },
    SetTags { suid: Suid, name: String, values: Vec<(ColumnId, Value)> },
    DeleteRange { suid: Suid, tables: Tables, range: TimeRange },
    DeleteKeys { suid: Suid, ordinals: Vec<u32>, names: Vec<String>, keys: Vec<i64> },
}

/// Columns of rows: for each its id, type, and whether what is absent is said in a second array behind it.
#[derive(Serialize, Deserialize)]
struct PackedColumns {
    heads: Vec<(ColumnId, DataType, bool)>,
    arrays: Vec<u8>,
}

/// The overlay of a request, wherever it stands.
fn overlay(request: &mut ScanRequest) -> Option<&mut Overlay> {
    match request {
        ScanRequest::Rows(rows) => Some(&mut rows.overlay),
        ScanRequest::LastValues(last) => Some(&mut last.rows.overlay),
        ScanRequest::Aggregate(aggregate) => Some(&mut aggregate.rows.overlay),
        ScanRequest::Tags(_) | ScanRequest::Statistics(_) => None,
    }
}

/// Makes a request ready to travel.
pub(super) fn pack(vgroup: VgroupId, mut request: ScanRequest) -> io::Result<Packed> {
    let changes = overlay(&mut request).map(std::mem::take).unwrap_or_default();
    let overlay = changes.iter().map(|change| pack_change(change)).collect::<io::Result<_>>()?;
    Ok(Packed { vgroup, request, overlay })
}

/// The way back.
pub(super) fn unpack(packed: Packed) -> io::Result<(VgroupId, ScanRequest)> {
    let Packed { vgroup, mut request, overlay: changes } = packed;
    let changes = changes.into_iter().map(|change| unpack_change(change).map(Arc::new)).collect::<io::Result<_>>()?;
    if let Some(overlay) = overlay(&mut request) {
        *overlay = changes;
    }
    Ok((vgroup, request))
}

fn pack_change(change: &Change) -> io::Result<PackedChange> {
    Ok(match change.clone() {
        Change::Rows(rows) => PackedChange::Rows {
            suid: rows.suid,
            version: rows.version,
            columns: pack_columns(&rows)?,
            tables: rows.tables,
            ordinals: rows.ordinals,
            keys: rows.keys,
        },
        Change::CreateTables { suid, tables, if_not_exists } => {
            PackedChange::CreateTables { suid, tables, if_not_exists }
        }
        Change::DropTables { suid, names } => PackedChange::DropTables { suid, names },
        Change::DropRelation { suid } => PackedChange::DropRelation { suid },
        Change::SetTags { suid, name, values } => PackedChange::SetTags { suid, name, values },
        Change::DeleteRange { suid, tables, range } => PackedChange::DeleteRange { suid, tables, range },
        Change::DeleteKeys { suid, ordinals, names, keys } => PackedChange::DeleteKeys { suid, ordinals, names, keys },
    })
}

fn unpack_change(change: PackedChange) -> io::Result<Change> {
    Ok(match change {
        PackedChange::Rows { suid, version, tables, ordinals, keys, columns } => {
            let columns = unpack_columns(columns, keys.len())?;
            Change::Rows(RowBatch { suid, version, tables, ordinals, keys, columns })
        }
        PackedChange::CreateTables { suid, tables, if_not_exists } => {
            Change::CreateTables { suid, tables, if_not_exists }
        }
        PackedChange::DropTables { suid, names } => Change::DropTables { suid, names },
        PackedChange::DropRelation { suid } => Change::DropRelation { suid },
        PackedChange::SetTags { suid, name, values } => Change::SetTags { suid, name, values },
        PackedChange::DeleteRange { suid, tables, range } => Change::DeleteRange { suid, tables, range },
        PackedChange::DeleteKeys { suid, ordinals, names, keys } => Change::DeleteKeys { suid, ordinals, names, keys },
    })
}

fn pack_columns(rows: &RowBatch) -> io::Result<PackedColumns> {
    let mut heads = Vec::with_capacity(rows.columns.len());
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(rows.columns.len());
    for column in &rows.columns {
        heads.push((column.id, column.data_type, column.absent.is_some()));
        arrays.push(column.values.clone());
        if let Some(absent) = &column.absent {
            arrays.push(Arc::new(BooleanArray::new(absent.clone(), None)));
        }
    }
    if arrays.is_empty() {
        return Ok(PackedColumns { heads, arrays: Vec::new() });
    }
    let field = |(at, array): (usize, &ArrayRef)| Field::new(at.to_string(), array.data_type().clone(), true);
    let schema = Arc::new(Schema::new(arrays.iter().enumerate().map(field).collect::<Vec<_>>()));
    let batch = RecordBatch::try_new(schema, arrays).map_err(io::Error::other)?;
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).map_err(io::Error::other)?;
    writer.write(&batch).map_err(io::Error::other)?;
    Ok(PackedColumns { heads, arrays: writer.into_inner().map_err(io::Error::other)? })
}

fn unpack_columns(packed: PackedColumns, rows: usize) -> io::Result<Vec<WriteColumn>> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the held rows of a scan are damaged");
    if packed.heads.is_empty() {
        return Ok(Vec::new());
    }
    let mut bytes = Buffer::from_vec(packed.arrays);
    let batch = StreamDecoder::new().decode(&mut bytes).map_err(io::Error::other)?.ok_or_else(damaged)?;
    let wanted = packed.heads.iter().map(|(.., absent)| 1 + usize::from(*absent)).sum::<usize>();
    if batch.num_columns() != wanted || batch.num_rows() != rows {
        return Err(damaged());
    }
    let mut arrays = batch.columns().iter();
    let mut columns = Vec::with_capacity(packed.heads.len());
    for (id, data_type, has_absent) in packed.heads {
        let values = arrays.next().ok_or_else(damaged)?.clone();
        let absent: Option<BooleanBuffer> = match has_absent {
            false => None,
            true => {
                let array = arrays.next().and_then(|array| array.as_any().downcast_ref::<BooleanArray>());
                Some(array.ok_or_else(damaged)?.values().clone())
            }
        };
        columns.push(WriteColumn { id, data_type, values, absent });
    }
    Ok(columns)
}

fn frame(kind: u8, body: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(1 + body.len());
    frame.put_u8(kind);
    frame.put_slice(body);
    frame.freeze()
}

fn failure(error: Error) -> Bytes {
    frame(FAILED, &encode(&Refusal::from(error)))
}

/// The frames of a scan, made as the reader takes them.
pub(super) fn send(rows: Result<RowStream>) -> impl Stream<Item = Bytes> + Send {
    let (first, rows) = match rows {
        Ok(rows) => (frame(BEGUN, &[]), Some((rows, None))),
        Err(error) => (failure(error), None),
    };
    let rest = stream::unfold(rows, |sending: Option<(RowStream, Option<StreamWriter<Vec<u8>>>)>| async move {
        let (mut rows, mut writer) = sending?;
        match rows.next().await {
            None => Some((frame(DONE, &[]), None)),
            Some(Err(error)) => Some((failure(error), None)),
            Some(Ok(batch)) => match written(&batch, &mut writer) {
                Ok(frame) => Some((frame, Some((rows, writer)))),
                Err(error) => Some((failure(Error::internal(error)), None)),
            },
        }
    });
    stream::once(async move { first }).chain(rest)
}

/// A batch as the next messages of the stream.
fn written(
    batch: &RecordBatch,
    writer: &mut Option<StreamWriter<Vec<u8>>>,
) -> std::result::Result<Bytes, arrow::error::ArrowError> {
    let writer = match writer {
        Some(writer) => writer,
        None => writer.insert(StreamWriter::try_new(vec![ROWS], &batch.schema())?),
    };
    writer.write(batch)?;
    Ok(Bytes::from(std::mem::replace(writer.get_mut(), vec![ROWS])))
}

/// What a frame says.
pub(super) enum Frame {
    /// The scan is under way.
    Begun,
    /// A batch.
    Rows(RecordBatch),
    /// The end, and why.
    Failed(Error),
}

/// Reads the frames of one scan.
pub(super) struct Frames<S> {
    stream: S,
    decoder: StreamDecoder,
    /// What of the last frame is not decoded yet.
    left: Buffer,
    done: bool,
}

impl<S: Stream<Item = std::result::Result<Bytes, Status>> + Unpin> Frames<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, decoder: StreamDecoder::new(), left: Buffer::from_vec(Vec::<u8>::new()), done: false }
    }

    /// The next one. The end comes only after the sender has said that nothing is missing; anything else is an error.
    pub(super) async fn next(&mut self) -> Option<std::result::Result<Frame, String>> {
        loop {
            if !self.left.is_empty() {
                match self.decoder.decode(&mut self.left) {
                    Ok(Some(batch)) => return Some(Ok(Frame::Rows(batch))),
                    Ok(None) => {}
                    Err(error) => return Some(Err(error.to_string())),
                }
            }
            let frame = match self.stream.next().await {
                Some(Ok(frame)) => frame,
                Some(Err(status)) => return Some(Err(status.message().to_owned())),
                None if self.done => return None,
                None => return Some(Err("the connection has ended".to_owned())),
            };
            match frame.first() {
                Some(&BEGUN) => return Some(Ok(Frame::Begun)),
                Some(&ROWS) => self.left = Buffer::from(frame.slice(1..)),
                Some(&DONE) => self.done = true,
                Some(&FAILED) => {
                    self.done = true;
                    let refusal: io::Result<Refusal> = decode(&frame[1..]);
                    return Some(
                        refusal.map(|refusal| Frame::Failed(refusal.into())).map_err(|error| error.to_string()),
                    );
                }
                _ => return Some(Err("a frame of an unknown kind".to_owned())),
            }
        }
    }
}

#[cfg(test)]
mod tests;
