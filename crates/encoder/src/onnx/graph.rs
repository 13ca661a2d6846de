//! A graph under construction: operators are called like functions and give the names of what they compute.

use super::messages::{
    AttributeProto, Dimension, Entry, FLOAT, GraphProto, INT64, KIND_FLOAT, KIND_INT, KIND_INTS,
    ModelProto, NodeProto, OperatorSetId, Size, TensorProto, TensorShape, TensorType, TypeProto,
    ValueInfo,
};

const IR_VERSION: i64 = 8;
const OPERATORS: i64 = 17;

/// A tensor in the graph, by its name.
#[derive(Clone, Debug)]
pub(super) struct Value(String);

/// A setting of an operator.
pub(super) enum Attribute {
    Float(&'static str, f32),
    Int(&'static str, i64),
    Ints(&'static str, &'static [i64]),
}

/// Nodes and constants so far.
#[derive(Default)]
pub(super) struct Graph {
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
    inputs: Vec<ValueInfo>,
    outputs: Vec<ValueInfo>,
    facts: Vec<Entry>,
}

impl Graph {
    /// Adds facts for whoever asks the file what it is.
    pub(super) fn describe(&mut self, facts: &[(String, String)]) {
        let entry =
            |(key, value): &(String, String)| Entry { key: key.clone(), value: value.clone() };
        self.facts.extend(facts.iter().map(entry));
    }

    /// An input of integers; dimensions are names, of any size.
    pub(super) fn input(&mut self, name: &str, shape: &[&str]) -> Value {
        let shape = shape.iter().map(|name| Size::Any((*name).to_owned()));
        self.inputs.push(value_info(name, INT64, shape));
        Value(name.to_owned())
    }

    /// Makes a value an output of this name; dimensions are names, the last one a number.
    pub(super) fn output(&mut self, name: &str, value: &Value, shape: &[&str], width: usize) {
        self.nodes.push(NodeProto {
            input: vec![value.0.clone()],
            output: vec![name.to_owned()],
            name: format!("output.{name}"),
            op_type: "Identity".to_owned(),
            attribute: Vec::new(),
        });
        let shape = shape.iter().map(|name| Size::Any((*name).to_owned()));
        let shape = shape.chain([Size::Fixed(width as i64)]);
        self.outputs.push(value_info(name, FLOAT, shape));
    }

    /// A constant of numbers.
    pub(super) fn floats(&mut self, name: &str, shape: &[usize], numbers: &[f32]) -> Value {
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.constant(name, FLOAT, shape, bytes)
    }

    /// A constant of one number.
    pub(super) fn float(&mut self, name: &str, number: f32) -> Value {
        self.floats(name, &[], &[number])
    }

    /// A constant of whole numbers.
    pub(super) fn integers(&mut self, name: &str, shape: &[usize], numbers: &[i64]) -> Value {
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.constant(name, INT64, shape, bytes)
    }

    /// A constant is kept once, however often it is asked for by its name.
    fn constant(
        &mut self,
        name: &str,
        data_type: i32,
        shape: &[usize],
        raw_data: Vec<u8>,
    ) -> Value {
        if self.constants.iter().all(|known| known.name != name) {
            let dims = shape.iter().map(|size| *size as i64).collect();
            let name = name.to_owned();
            self.constants.push(TensorProto { dims, data_type, name, raw_data });
        }
        Value(name.to_owned())
    }

    /// Calls an operator; `name` is that of the result, for people who look at the graph.
    pub(super) fn call(
        &mut self,
        operator: &str,
        name: &str,
        inputs: &[&Value],
        attributes: &[Attribute],
    ) -> Value {
        let name = format!("{name}.{}.{operator}", self.nodes.len());
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|input| input.0.clone()).collect(),
            output: vec![name.clone()],
            name: name.clone(),
            op_type: operator.to_owned(),
            attribute: attributes.iter().map(attribute).collect(),
        });
        Value(name)
    }

    /// The whole.
    pub(super) fn into_model(self) -> ModelProto {
        let Self { nodes, constants, inputs, outputs, facts } = self;
        ModelProto {
            ir_version: IR_VERSION,
            producer_name: "hpd".to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            graph: Some(GraphProto {
                node: nodes,
                name: "sentence encoder".to_owned(),
                initializer: constants,
                input: inputs,
                output: outputs,
            }),
            opset_import: vec![OperatorSetId { domain: String::new(), version: OPERATORS }],
            metadata_props: facts,
        }
    }
}

fn value_info(name: &str, elem_type: i32, shape: impl Iterator<Item = Size>) -> ValueInfo {
    let dim = shape.map(|size| Dimension { size: Some(size) }).collect();
    let tensor_type = Some(TensorType { elem_type, shape: Some(TensorShape { dim }) });
    ValueInfo { name: name.to_owned(), r#type: Some(TypeProto { tensor_type }) }
}

fn attribute(attribute: &Attribute) -> AttributeProto {
    let empty = AttributeProto::default();
    match *attribute {
        Attribute::Float(name, f) => {
            AttributeProto { name: name.to_owned(), f, r#type: KIND_FLOAT, ..empty }
        }
        Attribute::Int(name, i) => {
            AttributeProto { name: name.to_owned(), i, r#type: KIND_INT, ..empty }
        }
        Attribute::Ints(name, ints) => {
            let ints = ints.to_vec();
            AttributeProto { name: name.to_owned(), ints, r#type: KIND_INTS, ..empty }
        }
    }
}
