//! The sample's data sets.

use std::cmp::Ordering;

use serde_json::Value;

use super::feature;
use super::request::Exception;

/// A data set of the sample, as one would configure it for harvesting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleDataset {
    /// The type name.
    pub type_name: &'static str,
    /// The property that is unique to each feature.
    pub id_property: &'static str,
    /// The licence.
    pub licence: &'static str,
    /// Who is to be named.
    pub attribution: &'static str,
}

/// The data sets that the sample serves.
pub fn sample_datasets() -> [SampleDataset; 2] {
    KINDS.map(|kind| SampleDataset {
        type_name: kind.type_name,
        id_property: kind.id_property,
        licence: "CC-BY-4.0",
        attribution: "Bowerbird's sample WFS (made up; not a statistic of anything)",
    })
}

/// What a data set is about.
pub struct Kind {
    pub type_name: &'static str,
    pub title: &'static str,
    pub summary: &'static str,
    pub id_property: &'static str,
    pub columns: &'static [(&'static str, Column)],
}

/// What a column holds.
#[derive(Clone, Copy)]
pub enum Column {
    /// The unique code.
    Code,
    /// The name of the area.
    Name,
    /// The state.
    State,
    /// A whole number up to so many; sometimes null.
    Count(u32),
    /// A number up to so much; sometimes null.
    Measure(f64),
    /// Text that is sometimes empty.
    Note,
}

/// The columns are those that AURIN's data sets of these names have in like form.
pub const KINDS: [Kind; 2] = [
    Kind {
        type_name: "datasource-AU_Govt_ABS-UoM_AURIN_DB_3:abs_personal_income_total_income_sa2_2011_2018",
        title: "ABS - Personal Income - Total Income (SA2) 2011-2018 (sample)",
        summary: "Made-up figures in the columns of a data set on personal income",
        id_property: "sa2_code",
        columns: &[
            ("sa2_code", Column::Code),
            ("sa2_name", Column::Name),
            ("ste_name", Column::State),
            ("earners_persons_2017_18", Column::Count(20_000)),
            ("median_age_of_earners_2017_18", Column::Count(70)),
            ("sum_aud_2017_18", Column::Count(2_000_000_000)),
            ("median_aud_2017_18", Column::Count(120_000)),
            ("mean_aud_2017_18", Column::Measure(150_000.0)),
            ("gini_coefficient_coef_2017_18", Column::Measure(1.0)),
            ("note", Column::Note),
        ],
    },
    Kind {
        type_name: "datasource-TUA_PHIDU-UoM_AURIN_DB_1:phidu_estimates_risk_factors_lga_2017_18",
        title: "PHIDU - Prevalence of Selected Health Risk Factors (LGA) 2017-2018 (sample)",
        summary: "Made-up figures in the columns of a data set on health",
        id_property: "lga_code",
        columns: &[
            ("lga_code", Column::Code),
            ("lga_name", Column::Name),
            ("ste_name", Column::State),
            ("smokers_18_years_over_no", Column::Count(40_000)),
            ("smokers_18_years_over_asr", Column::Measure(30.0)),
            ("obese_ppl_18yrs_ovr_no", Column::Count(60_000)),
            ("adq_fruit_ppl_18yrs_ovr_asr", Column::Measure(60.0)),
            ("note", Column::Note),
        ],
    },
];

/// A data set with its features.
pub struct Dataset {
    pub type_name: String,
    pub title: &'static str,
    pub summary: &'static str,
    pub id_property: &'static str,
    columns: &'static [(&'static str, Column)],
    pub features: Vec<Value>,
}

/// All data sets: of the features the first has seven tenths.
pub fn make(seed: u64, features: u32) -> Vec<Dataset> {
    let first = features - features * 3 / 10;
    KINDS
        .into_iter()
        .zip([first, features - first])
        .map(|(kind, count)| Dataset {
            type_name: kind.type_name.to_owned(),
            title: kind.title,
            summary: kind.summary,
            id_property: kind.id_property,
            columns: kind.columns,
            features: (0..count).map(|number| feature::make(&kind, seed, number)).collect(),
        })
        .collect()
}

impl Dataset {
    /// The name without its workspace.
    pub fn local_name(&self) -> &str {
        self.type_name.rsplit(':').next().unwrap_or(&self.type_name)
    }

    /// Columns with their XML types, and the geometry.
    pub fn columns(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let columns = self.columns.iter().map(|(name, column)| {
            let kind = match column {
                Column::Code | Column::Name | Column::State | Column::Note => "xsd:string",
                Column::Count(_) => "xsd:int",
                Column::Measure(_) => "xsd:double",
            };
            (*name, kind)
        });
        columns.chain([("wkb_geometry", "gml:MultiSurfacePropertyType")])
    }

    /// West, south, east, north of all its features.
    pub fn bounds(&self) -> [f64; 4] {
        feature::BOUNDS
    }

    /// The features in the order of a column: `name`, `name A`, `name ASC`, or down by `D`.
    pub fn sorted(&self, sort_by: Option<&str>) -> Result<Vec<&Value>, Exception> {
        let mut features: Vec<&Value> = self.features.iter().collect();
        let Some(sort_by) = sort_by else { return Ok(features) };
        let (name, order) = sort_by.split_once(' ').unwrap_or((sort_by, "A"));
        if !self.columns.iter().any(|(column, _)| *column == name) {
            let text = format!("No such property to sort by: {name}");
            return Err(Exception::new("InvalidParameterValue", "sortBy", text));
        }
        features.sort_by(|a, b| compare(&a["properties"][name], &b["properties"][name]));
        if order.starts_with(['D', 'd']) {
            features.reverse();
        }
        Ok(features)
    }
}

fn compare(a: &Value, b: &Value) -> Ordering {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        _ => a.as_str().cmp(&b.as_str()),
    }
}
