//! Metadata and filters of any kind, for the tests of whatever answers filters; `crates/remote/tests` takes them from here too.

use std::ops::Bound;

use hpd_index::{Field, Filter, Scalar, Test};
use proptest::prelude::*;
use serde_json::{Map, Value};

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => prop::sample::select(vec!["a", "b", "c"]).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["", "a.b", "\"", "\\", "$", "[0]", "#", "é", "a\nb", "'"])
            .prop_map(str::to_owned),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec!["", "1", "x", "X", "y", "true", "null", "[]", "{\"a\":1}", "é", "😀", "'; --"])
            .prop_map(str::to_owned),
        1 => "\\PC{0,4}",
    ]
}

fn whole() -> impl Strategy<Value = i64> {
    prop_oneof![4 => -2i64..3, 1 => Just(1 << 53), 1 => Just(-(1 << 62))]
}

fn real() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (-5i8..6).prop_map(|halves| f64::from(halves) / 2.0),
        1 => Just(-0.0),
        1 => Just(1e-300),
    ]
}

fn scalar() -> impl Strategy<Value = Scalar> {
    prop_oneof![
        Just(Scalar::Null),
        any::<bool>().prop_map(Scalar::Boolean),
        whole().prop_map(Scalar::Whole),
        real().prop_map(Scalar::Real),
        text().prop_map(Scalar::Text),
    ]
}

fn value(strange: impl Strategy<Value = Value> + 'static) -> impl Strategy<Value = Value> {
    let leaf = scalar().prop_map(|scalar| match scalar {
        Scalar::Null => Value::Null,
        Scalar::Boolean(value) => value.into(),
        Scalar::Whole(number) => number.into(),
        Scalar::Real(number) => number.into(),
        Scalar::Text(text) => text.into(),
    });
    let leaf = prop_oneof![20 => leaf, 1 => strange];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((name(), inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// An object of metadata. Some values are `strange`, as only some engines keep them to the letter.
pub(crate) fn metadata(
    strange: impl Strategy<Value = Value> + 'static,
) -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::vec((name(), value(strange)), 0..5)
        .prop_map(|members| members.into_iter().collect())
}

/// What a filter compares with.
fn asked() -> impl Strategy<Value = Scalar> {
    prop_oneof![20 => scalar(), 1 => any_real().prop_map(Scalar::Real)]
}

/// Any number that JSON has.
pub(crate) fn any_real() -> impl Strategy<Value = f64> {
    any::<f64>().prop_filter("JSON has no infinity", |real| real.is_finite())
}

fn bound() -> impl Strategy<Value = Bound<Scalar>> {
    prop_oneof![
        Just(Bound::Unbounded),
        asked().prop_map(Bound::Included),
        asked().prop_map(Bound::Excluded),
    ]
}

/// Any filter, also one that nobody can write.
pub(crate) fn filter() -> impl Strategy<Value = Filter> {
    let test = prop_oneof![
        prop::collection::vec(asked(), 0..4).prop_map(Test::OneOf),
        (bound(), bound()).prop_map(|(low, high)| Test::Between(low, high)),
        Just(Test::Exists),
    ];
    let leaf = (prop::collection::vec(name(), 0..4), test)
        .prop_map(|(names, test)| Filter::Field(Field(names), test));
    leaf.prop_recursive(3, 10, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Filter::And),
            prop::collection::vec(inner.clone(), 0..4).prop_map(Filter::Or),
            inner.prop_map(|filter| Filter::Not(Box::new(filter))),
        ]
    })
}
