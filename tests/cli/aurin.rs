//! `bowerbird aurin`, and schedules, against the sample WFS.

use crate::harness::{Ran, Service, bowerbird, folder, run};

const INCOME: &str =
    "datasource-AU_Govt_ABS-UoM_AURIN_DB_3:abs_personal_income_total_income_sa2_2011_2018";

#[test]
fn data_sets_and_columns_are_listed() {
    let folder = folder();
    let folder = folder.path();
    let mut sim = Service::start(bowerbird(folder, &["sim", "aurin", "--listen", "127.0.0.1:0"]));
    let wfs = sim.first_line();
    let aurin = |arguments: &[&str]| {
        let arguments = [&["aurin"], arguments].concat();
        let mut command = bowerbird(folder, &arguments);
        Ran::of(command.env("BOWERBIRD__AURIN__BASE_URL", &wfs).output().unwrap())
    };
    let all = aurin(&["list", "--output", "json"]).ends(0).json();
    assert_eq!(all.as_array().unwrap().len(), 2);
    assert_eq!((&all[0]["type_name"], &all[0]["declared"]), (&INCOME.into(), &false.into()));

    let csv = aurin(&["list", "personal*income", "--output", "csv"]).ends(0).out;
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines[0], "type name,title,licence,declared");
    assert!(lines.len() == 2 && lines[1].starts_with(INCOME), "{csv}");
    assert_eq!(aurin(&["list", "nothing like it", "--output", "json"]).ends(0).out, "[]\n");

    let columns = aurin(&["describe", INCOME, "--output", "json"]).ends(0).json();
    assert_eq!(columns[0]["column"], "sa2_code");
    assert_eq!(columns.as_array().unwrap().iter().filter(|one| one["geometry"] == true).count(), 1);
    let text = aurin(&["describe", INCOME]).ends(0).out;
    assert!(text.contains("gini_coefficient_coef_2017_18  double"), "{text}");
    aurin(&["describe", "a:b"]).ends(2).says(&["has no type a:b", "bowerbird aurin list"]);
}

#[test]
fn a_schedule_that_is_none_is_told_at_once() {
    let folder = folder();
    let folder = folder.path();
    let dataset = "[[aurin.datasets]]\ntype_name = 'a:b'\nid_property = 'c'\nlicence = 'd'\n\
                   attribution = 'e'\n";
    let file = folder.join("bowerbird.toml");
    std::fs::write(&file, format!("{dataset}schedule = 'daily'\n")).unwrap();
    for arguments in [&["config", "check"][..], &["ingest", "aurin", "--dry-run"]] {
        run(folder, arguments).ends(2).says(&["schedule of a:b", "cron expression"]);
    }
    std::fs::write(&file, format!("{dataset}schedule = '30 3 * * 1-5 Australia/Melbourne'\n"))
        .unwrap();
    run(folder, &["config", "check"]).ends(0);
}
