//! What travels comes out as it went in, and what breaks off is an error.

use arrow::array::{Float64Array, Int64Array, StringArray};
use model::Precision;
use model::options::CacheModel;
use model::scan::{ColumnFilter, Order, Output, RowsRequest, Series};
use model::schema::{Column, Relation, RelationKind};

use super::*;

fn request(overlay: Overlay) -> ScanRequest {
    let relation = Relation {
        suid: Suid(3),
        name: "s".to_owned(),
        kind: RelationKind::Super,
        version: 2,
        columns: vec![
            Column::new(ColumnId(0), "ts", DataType::Timestamp),
            Column::new(ColumnId(1), "v", DataType::Double),
        ],
        tags: vec![Column::new(ColumnId(2), "site", DataType::Varchar(8))],
        next_column: ColumnId(3),
        primary_key: Vec::new(),
        comment: None,
        created_ms: 1,
        altered_ms: 2,
    };
    ScanRequest::Rows(RowsRequest {
        relation: Arc::new(relation),
        precision: Precision::Micro,
        output: vec![Output::TableName, Output::Column(ColumnId::KEY)],
        series: Series::Named(Arc::from(["a".to_owned()])),
        range: TimeRange { min: -5, max: 9 },
        filters: Vec::new(),
        order: Order::TimeDescending,
        conditions: vec![ColumnFilter { column: ColumnId(1), min: Some(Value::Float(0.5)), max: None }],
        limit: Some(3),
        overlay,
        cachemodel: CacheModel::Both,
    })
}

fn held() -> Change {
    let column = |id, data_type, values: ArrayRef, absent: Option<BooleanBuffer>| WriteColumn {
        id: ColumnId(id),
        data_type,
        values,
        absent,
    };
    Change::Rows(RowBatch {
        suid: Suid(3),
        version: 2,
        tables: vec![TableRef { name: "a".to_owned(), create: Some(vec![(ColumnId(9), Value::Text("x".to_owned()))]) }],
        ordinals: vec![0, 0, 0],
        keys: Keys::Given(vec![1, 2, 3]),
        columns: vec![
            column(
                1,
                DataType::Double,
                Arc::new(Float64Array::from(vec![Some(1.5), None, Some(f64::NAN)])),
                Some(BooleanBuffer::from(vec![false, true, false])),
            ),
            column(2, DataType::Varchar(8), Arc::new(StringArray::from(vec!["", "b", "c"])), None),
        ],
    })
}

#[test]
fn a_request_comes_out_as_it_went_in() {
    let range = TimeRange { min: 1, max: 2 };
    let delete = Change::DeleteRange { suid: Suid(3), tables: Tables::Named(vec!["a".to_owned()]), range };
    let overlay: Overlay = vec![Arc::new(held()), Arc::new(delete)];
    let sent = request(overlay);
    let packed = pack(VgroupId(7), sent.clone()).expect("packs");
    let (vgroup, came) = unpack(decode(&encode(&packed)).expect("decodes")).expect("unpacks");
    assert_eq!(vgroup, VgroupId(7));
    // The bits of `absent` may lie in another buffer.
    let shown = |request: &ScanRequest| {
        let ScanRequest::Rows(rows) = request else { panic!("{request:?}") };
        let Change::Rows(held) = &*rows.overlay[0] else { panic!("{rows:?}") };
        let absent = |column: &WriteColumn| column.absent.as_ref().map(|absent| absent.iter().collect::<Vec<_>>());
        let columns = held.columns.iter().map(|column| (absent(column), format!("{:?}", column.values)));
        let rest = RowsRequest { overlay: rows.overlay[1..].to_vec(), ..rows.clone() };
        let heads = (held.suid, held.version, held.tables.clone(), held.ordinals.clone(), held.keys.clone());
        (format!("{rest:?} {heads:?}"), columns.collect::<Vec<_>>())
    };
    assert_eq!(shown(&came), shown(&sent));
}

#[test]
fn held_rows_that_do_not_fit_are_refused() {
    let packed = pack(VgroupId(7), request(vec![Arc::new(held())])).expect("packs");
    let damage = |change: &mut PackedChange| {
        if let PackedChange::Rows { keys, .. } = change {
            *keys = Keys::Given(vec![1]);
        }
    };
    let mut damaged: Packed = decode(&encode(&packed)).expect("decodes");
    damaged.overlay.iter_mut().for_each(damage);
    assert!(unpack(damaged).is_err());
}

fn batch(from: i64) -> RecordBatch {
    let schema = Arc::new(Schema::new(vec![
        Field::new("n", arrow::datatypes::DataType::Int64, false),
        Field::new("t", arrow::datatypes::DataType::Utf8, true),
    ]));
    let texts = StringArray::from(vec![Some("x"), None]);
    RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(vec![from, from + 1])), Arc::new(texts)]).expect("fits")
}

async fn received(frames: Vec<std::result::Result<Bytes, Status>>) -> Vec<String> {
    let mut frames = Frames::new(stream::iter(frames));
    let mut seen = Vec::new();
    while let Some(frame) = frames.next().await {
        let broken = frame.is_err();
        seen.push(match frame {
            Ok(Frame::Begun) => "begun".to_owned(),
            Ok(Frame::Rows(batch)) => format!("{:?}", batch.column(0)),
            Ok(Frame::Failed(error)) => format!("{} {error}", error.state().code()),
            Err(why) => format!("broken: {why}"),
        });
        if broken {
            break;
        }
    }
    seen
}

#[tokio::test]
async fn rows_and_errors_arrive_in_order_and_a_broken_stream_is_no_end() {
    let rows = || -> RowStream { Box::pin(stream::iter([Ok(batch(1)), Ok(batch(5))])) };
    let whole: Vec<_> = send(Ok(rows())).map(Ok).collect().await;
    let all = received(whole.clone()).await;
    assert_eq!(all.len(), 3, "{all:?}");
    assert!(all[0] == "begun" && all[1].contains('1') && all[2].contains('6'));
    // Without its last frame the same stream has broken off.
    let cut = received(whole[..whole.len() - 1].to_vec()).await;
    assert_eq!(cut.last().map(String::as_str), Some("broken: the connection has ended"));

    let error = || model::error!(DiskFull, "no room").with_hint("make some");
    let failing: RowStream = Box::pin(stream::iter([Ok(batch(1)), Err(error())]));
    let some = received(send(Ok(failing)).map(Ok).collect().await).await;
    assert_eq!(some.last().map(String::as_str), Some("53100 no room"));
    let none = received(send(Err(error())).map(Ok).collect().await).await;
    assert_eq!(none[0], "53100 no room");
}
