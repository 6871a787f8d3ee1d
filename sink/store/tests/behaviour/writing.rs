use std::sync::Arc;

use bowerbird_store::{Document, DocumentStore, Revision, WriteOutcome};
use serde_json::{Value, json};

use crate::bed::{Bed, body, document, revision, with};

pub async fn revisions_guard_documents(bed: Arc<Bed>) {
    let db = bed.databases.create().await;
    let first = revision(&bed.put(&db, document("a", &json!({"n": 1}))).await);
    let found = bed.get(&db, "a").await.unwrap();
    assert_eq!((found.revision.as_ref(), body(&found)), (Some(&first), json!({"n": 1})));

    let unaware = document("a", &json!({"n": 2}));
    assert_eq!(bed.put(&db, unaware.clone()).await, WriteOutcome::Conflict);
    let second = revision(&bed.put(&db, with(unaware.clone(), &first)).await);
    assert_ne!(first, second);
    assert_eq!(body(&bed.get(&db, "a").await.unwrap()), json!({"n": 2}));

    let late = document("a", &json!({"n": 3}));
    assert_eq!(bed.put(&db, with(late.clone(), &first)).await, WriteOutcome::Conflict);
    let never = Revision("7-0123456789abcdef0123456789abcdef".to_owned());
    assert_eq!(bed.put(&db, with(late.clone(), &never)).await, WriteOutcome::Conflict);
    let none = Revision("nonsense".to_owned());
    assert_eq!(bed.put(&db, with(late, &none)).await, WriteOutcome::Conflict);
    assert_eq!(body(&bed.get(&db, "a").await.unwrap()), json!({"n": 2}));
}

pub async fn every_row_has_its_outcome(bed: Arc<Bed>) {
    let db = bed.databases.create().await;
    bed.fill(&db, &["stands"]).await;
    let batch = [
        document("z", &json!({"n": 1})),
        document("_reserved", &json!({})),
        document("stands", &json!({})),
        document("", &json!({})),
        document("member", &json!({"_x": 1})),
        document("list", &json!([1])),
        document("a", &json!({"n": 2, "_": {"_x": 1}}).clone()),
        document("b", &json!({"inner": {"_id": "kept", "_rev": "kept"}})),
    ];
    let outcomes = bed.store.write(&db, &batch).await.unwrap();
    let words: Vec<&str> = outcomes
        .iter()
        .map(|outcome| match outcome {
            WriteOutcome::Written(_) => "written",
            WriteOutcome::Conflict => "conflict",
            WriteOutcome::Refused { error, .. } => error,
            WriteOutcome::Failed { .. } => "failed",
        })
        .collect();
    let expected = [
        "written",
        "illegal_docid",
        "conflict",
        "illegal_docid",
        "doc_validation",
        "bad_request",
        "doc_validation",
        "written",
    ];
    assert_eq!(words, expected);
    assert!(bed.get(&db, "z").await.is_some());
    let kept = bed.get(&db, "b").await.unwrap();
    assert_eq!(body(&kept), json!({"inner": {"_id": "kept", "_rev": "kept"}}));
    assert_eq!(bed.store.write(&db, &[]).await.unwrap(), []);
}

pub async fn deletes_and_brings_back(bed: Arc<Bed>) {
    let db = bed.databases.create().await;
    bed.fill(&db, &["other"]).await;
    let first = revision(&bed.put(&db, document("a", &json!({"secret": 1}))).await);
    let stone = Document::tombstone("a", first.clone()).unwrap();
    let gone = revision(&bed.put(&db, stone.clone()).await);
    assert!(bed.get(&db, "a").await.is_none());
    assert_eq!(bed.store.scan(&db, None, 9).await.unwrap().len(), 1);
    assert_eq!(bed.store.database(&db).await.unwrap().unwrap().documents, 1);
    assert_eq!(bed.put(&db, stone).await, WriteOutcome::Conflict, "its revision is old by now");

    let back = revision(&bed.put(&db, document("a", &json!({"n": 2}))).await);
    assert!(back != first && back != gone);
    let found = bed.get(&db, "a").await.unwrap();
    assert_eq!((found.revision.as_ref(), body(&found)), (Some(&back), json!({"n": 2})));
    assert_eq!(bed.store.database(&db).await.unwrap().unwrap().documents, 2);
}

pub async fn keeps_any_id_and_body(bed: Arc<Bed>) {
    let db = bed.databases.create().await;
    let ids = [
        "1534123412341234123",
        "a b",
        "a+b",
        "a/b?c=d&e#f",
        "50%",
        "%2F",
        "\"q\"\\",
        "ü",
        "日本",
        "🐦",
    ];
    let bodies = [
        json!({}),
        json!({"text": "line\nline \u{2028} \u{7f} \"q\" \\ 🐦 é e\u{301} \u{1}"}),
        json!({"n": [0, -1, 1.5, 1e-7, 9_007_199_254_740_991_i64, -9_007_199_254_740_991_i64]}),
        json!({"deep": {"er": [[[{"a": null}]], true, false, ""]}, "": "empty", "ключ": 1}),
    ];
    let batch: Vec<Document> = ids
        .iter()
        .enumerate()
        .map(|(number, id)| document(id, &bodies[number % bodies.len()]))
        .collect();
    for outcome in bed.store.write(&db, &batch).await.unwrap() {
        revision(&outcome);
    }
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let found = bed.store.fetch(&db, &ids).await.unwrap();
    for (sent, found) in batch.iter().zip(found) {
        let found = found.unwrap_or_else(|| panic!("{} is missing", sent.id));
        assert_eq!((&found.id, body(&found)), (&sent.id, body(sent)));
    }
}

pub async fn lets_one_of_many_writers_win(bed: Arc<Bed>) {
    let db = bed.databases.create().await;
    let first = revision(&bed.put(&db, document("a", &json!({"n": 0}))).await);
    let writers = (1..=8).map(|n: u32| {
        let (bed, db, first) = (Arc::clone(&bed), db.clone(), first.clone());
        async move {
            let fresh = bed.put(&db, document("new", &json!({"n": n}))).await;
            let update = with(document("a", &json!({"n": n})), &first);
            (n, fresh, bed.put(&db, update).await)
        }
    });
    let all = futures::future::join_all(writers).await;
    let won = |outcome: &WriteOutcome| match outcome {
        WriteOutcome::Written(_) => true,
        WriteOutcome::Conflict => false,
        other => panic!("{other:?}"),
    };
    let creators: Vec<u32> = all.iter().filter(|row| won(&row.1)).map(|row| row.0).collect();
    let updaters: Vec<u32> = all.iter().filter(|row| won(&row.2)).map(|row| row.0).collect();
    assert_eq!((creators.len(), updaters.len()), (1, 1), "{all:?}");
    assert_eq!(body(&bed.get(&db, "new").await.unwrap()), json!({"n": creators[0]}));
    assert_eq!(body(&bed.get(&db, "a").await.unwrap()), json!({"n": updaters[0]}));
}

pub async fn is_safe_to_repeat(bed: Arc<Bed>) {
    let db = bed.databases.create().await;
    let batch: Vec<Document> =
        (0..20).map(|n| document(&format!("{n}"), &json!({"n": n}))).collect();
    let first = bed.store.write(&db, &batch[..10]).await.unwrap();
    let again = bed.store.write(&db, &batch).await.unwrap();
    assert!(again[..10].iter().all(|outcome| *outcome == WriteOutcome::Conflict));
    assert!(again[10..].iter().all(|outcome| matches!(outcome, WriteOutcome::Written(_))));
    for (document, outcome) in batch.iter().zip(&first) {
        let found = bed.get(&db, &document.id).await.unwrap();
        assert_eq!(found.revision, Some(revision(outcome)), "it was touched");
    }
}

pub async fn takes_large_batches(bed: Arc<Bed>) {
    let db = bed.databases.create().await;
    let filler = "word ".repeat(200);
    let mut batch: Vec<Document> =
        (0..1000).map(|n| document(&format!("{n:05}"), &json!({"n": n, "text": filler}))).collect();
    batch.push(document("large", &json!({"text": "x".repeat(1 << 20)})));
    let outcomes = bed.store.write(&db, &batch).await.unwrap();
    assert_eq!(outcomes.len(), 1001);
    assert!(outcomes.iter().all(|outcome| matches!(outcome, WriteOutcome::Written(_))));
    assert_eq!(bed.store.database(&db).await.unwrap().unwrap().documents, 1001);
    let large = bed.get(&db, "large").await.unwrap();
    assert_eq!(body(&large)["text"].as_str().map(str::len), Some(1 << 20));
}

pub async fn keeps_local_documents_apart(bed: Arc<Bed>) {
    let db = bed.databases.create().await;
    assert!(bed.get(&db, "_local/pointer").await.is_none());
    let first =
        revision(&bed.put(&db, document("_local/pointer", &json!({"to": "posts-2"}))).await);
    let found = bed.get(&db, "_local/pointer").await.unwrap();
    assert_eq!((found.revision.as_ref(), body(&found)), (Some(&first), json!({"to": "posts-2"})));
    let next = with(document("_local/pointer", &json!({"to": "posts-3"})), &first);
    revision(&bed.put(&db, next).await);
    let ids = ["x".to_owned(), "_local/pointer".to_owned()];
    let both = bed.store.fetch(&db, &ids).await.unwrap();
    assert!(both[0].is_none());
    assert_eq!(both[1].as_ref().map(body), Some(json!({"to": "posts-3"}) as Value));
    assert!(bed.store.scan(&db, None, 9).await.unwrap().is_empty());
    assert!(bed.store.changes(&db, None, 9).await.unwrap().rows.is_empty());
    assert_eq!(bed.store.database(&db).await.unwrap().unwrap().documents, 0);
}
