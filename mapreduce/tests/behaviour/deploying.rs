use std::sync::Arc;

use bowerbird_mapreduce::{DeployOptions, Deployment, Query, ViewError, Views};
use bowerbird_store::{DocumentStore, StoreError};
use serde_json::json;

use crate::bed::{Bed, design, expected, views};

const ONE: &str = "function (doc) { emit(doc.n, 1); }";
const TWO: &str = "function (doc) { emit(doc.n, 2); }";

pub async fn is_done_once(bed: Arc<Bed>) {
    let db = bed.database(&[json!({"n": 1})]).await;
    let (first, second) = (design(ONE, Some("_sum")), design(TWO, Some("_sum")));
    for (design, done) in [
        (&first, Deployment::Created),
        (&first, Deployment::Unchanged),
        (&second, Deployment::Changed),
        (&second, Deployment::Unchanged),
        (&first, Deployment::Changed),
    ] {
        assert_eq!(bed.deploy(&db, design).await.unwrap(), done);
    }
    assert_eq!(bed.rows(&db, &Query::default()).await, expected(json!([[null, 1]])));
    let ids = ["_design/d-staging".to_owned()];
    assert!(bed.store.fetch(&db, &ids).await.unwrap()[0].is_none(), "something is left over");
    let info = bed.store.database(&db).await.unwrap().unwrap();
    assert_eq!(info.documents, 1);
}

pub async fn tells_what_it_would_do(bed: Arc<Bed>) {
    let db = bed.database(&[json!({"n": 1})]).await;
    let dry = DeployOptions { dry_run: true, ..DeployOptions::default() };
    let would = |design| {
        let (bed, db) = (Arc::clone(&bed), db.clone());
        async move { bed.views.deploy(&db, &design, dry).await.unwrap() }
    };
    assert_eq!(would(design(ONE, None)).await, Deployment::Created);
    let missing = bed.views.query(&db, "d", "v", &Query::default()).await.unwrap_err();
    assert!(matches!(missing, ViewError::MissingDesign { .. }), "{missing}");
    bed.deploy(&db, &design(ONE, None)).await.unwrap();
    assert_eq!(would(design(ONE, None)).await, Deployment::Unchanged);
    assert_eq!(would(design(TWO, None)).await, Deployment::Changed);
    assert_eq!(bed.rows(&db, &Query::default()).await, expected(json!([["000", 1, 1]])));
}

pub async fn leaves_the_live_views_when_it_fails(bed: Arc<Bed>) {
    let db = bed.database(&[json!({"n": 1})]).await;
    bed.deploy(&db, &design(ONE, None)).await.unwrap();
    let broken = [
        design("function (doc) { emit(doc.n, ", None),
        views(&[("v", TWO, None), ("w", "function (doc { }", None)]),
    ];
    for design in &broken {
        bed.deploy(&db, design).await.unwrap_err();
        assert_eq!(bed.rows(&db, &Query::default()).await, expected(json!([["000", 1, 1]])));
    }
    // And the next one is not in its way.
    assert_eq!(bed.deploy(&db, &design(TWO, None)).await.unwrap(), Deployment::Changed);
    assert_eq!(bed.rows(&db, &Query::default()).await, expected(json!([["000", 1, 2]])));
}

pub async fn tells_what_is_missing(bed: Arc<Bed>) {
    let nowhere = bed.databases.name("");
    let design = views(&[("v", ONE, None), ("w", TWO, None)]);
    for error in [
        bed.deploy(&nowhere, &design).await.unwrap_err(),
        bed.views.query(&nowhere, "d", "v", &Query::default()).await.unwrap_err(),
    ] {
        let missing = matches!(&error, ViewError::Store(StoreError::MissingDatabase { database, .. })
            if *database == nowhere);
        assert!(missing, "{error}");
    }
    let db = bed.database(&[]).await;
    let error = bed.views.query(&db, "d", "v", &Query::default()).await.unwrap_err();
    assert!(matches!(error, ViewError::MissingDesign { .. }), "{error}");
    bed.deploy(&db, &design).await.unwrap();
    let error = bed.views.query(&db, "d", "none", &Query::default()).await.unwrap_err();
    assert!(matches!(&error, ViewError::MissingView { known, .. } if known == "v, w"), "{error}");
    assert_eq!(bed.rows(&db, &Query::default()).await, expected(json!([])));
}

pub async fn brings_new_answers(bed: Arc<Bed>) {
    let bodies: Vec<_> = (0..30).map(|n| json!({"n": n % 3})).collect();
    let db = bed.database(&bodies).await;
    bed.deploy(&db, &design(ONE, Some("_count"))).await.unwrap();
    let counts = expected(json!([[0, 10], [1, 10], [2, 10]]));
    assert_eq!(bed.rows(&db, &Query::grouped()).await, counts);
    bed.deploy(&db, &design(TWO, Some("_sum"))).await.unwrap();
    let sums = expected(json!([[0, 20], [1, 20], [2, 20]]));
    assert_eq!(bed.rows(&db, &Query::grouped()).await, sums);
    // Only the reduce function is another one.
    bed.deploy(&db, &design(TWO, Some("_count"))).await.unwrap();
    assert_eq!(bed.rows(&db, &Query::grouped()).await, counts);
}

pub async fn is_safe_side_by_side(bed: Arc<Bed>) {
    let bodies: Vec<_> = (0..100).map(|n| json!({"n": n})).collect();
    let db = bed.database(&bodies).await;
    let design = design(ONE, Some("_count"));
    let deploy = || bed.deploy(&db, &design);
    let (first, second, third) = tokio::join!(deploy(), deploy(), deploy());
    for done in [first, second, third] {
        // Who lost the race may say so; nobody breaks anything.
        assert!(done.is_ok() || done.unwrap_err().is_transient());
    }
    bed.deploy(&db, &design).await.unwrap();
    assert_eq!(bed.rows(&db, &Query::default()).await, expected(json!([[null, 100]])));
}
