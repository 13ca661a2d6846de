//! As much of Python's pickle as a state dict needs, and nothing that runs code.
//!
//! A pickle is a program for a small stack machine that can call any Python function. This machine knows
//! five: the three that put a tensor together, `OrderedDict` and `torch.Size`. Every other name is refused
//! where it is named. Tensors are not read here: a tensor is a shape over a storage, and a storage a key.
//!
//! Objects live in one list and refer to each other by index, so that memoised objects can be filled later and
//! no depth of nesting exhausts the stack. Nothing long is copied (texts are shared, tensors have few
//! dimensions), so memory grows with the length of the pickle and no faster.

use std::collections::HashMap;
use std::rc::Rc;

use super::bytes::Bytes;

/// Everything that a pickle made.
#[derive(Debug)]
pub(super) struct Pickled {
    objects: Vec<Object>,
    root: Handle,
}

/// The index of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handle(usize);

/// What a state dict is made of.
#[derive(Clone, Debug)]
pub(super) enum Object {
    None,
    /// Truth values too.
    Int(i128),
    Float,
    Text(Rc<str>),
    Tuple(Vec<Handle>),
    List(Vec<Handle>),
    Dict(Vec<(Handle, Handle)>),
    Callable(Callable),
    Storage(Storage),
    Tensor(StridedTensor),
}

/// What a pickle may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Callable {
    OrderedDict,
    Size,
    RebuildTensor,
    RebuildParameter,
    StorageOf(NumberType),
}

/// How a storage writes its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NumberType {
    F64,
    F32,
    F16,
    Bf16,
    /// Of so many bytes; never a weight.
    Integer(usize),
}

/// A run of numbers elsewhere in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Storage {
    pub(super) numbers: NumberType,
    pub(super) key: Rc<str>,
    pub(super) length: usize,
}

/// A shape over a storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StridedTensor {
    pub(super) storage: Storage,
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

impl NumberType {
    /// Bytes per number.
    pub(super) fn size(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Integer(size) => size,
        }
    }
}

impl Callable {
    fn named(module: &str, name: &str) -> Result<Self, String> {
        match (module, name) {
            ("collections", "OrderedDict") => Ok(Self::OrderedDict),
            ("torch", "Size") => Ok(Self::Size),
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Ok(Self::RebuildTensor),
            ("torch._utils", "_rebuild_parameter") => Ok(Self::RebuildParameter),
            ("torch" | "torch.cuda", storage) => NumberType::of_storage(storage)
                .map(Self::StorageOf)
                .ok_or_else(|| refused(module, name)),
            _ => Err(refused(module, name)),
        }
    }
}

fn refused(module: &str, name: &str) -> String {
    format!(
        "it asks for `{module}.{name}`, which is not part of a tensor; no code of a checkpoint is run"
    )
}

impl NumberType {
    fn of_storage(class: &str) -> Option<Self> {
        Some(match class {
            "DoubleStorage" => Self::F64,
            "FloatStorage" => Self::F32,
            "HalfStorage" => Self::F16,
            "BFloat16Storage" => Self::Bf16,
            "LongStorage" => Self::Integer(8),
            "IntStorage" => Self::Integer(4),
            "ShortStorage" => Self::Integer(2),
            "CharStorage" | "ByteStorage" | "BoolStorage" => Self::Integer(1),
            _ => return None,
        })
    }
}

impl Pickled {
    /// Reads one pickle and leaves `bytes` behind it.
    pub(super) fn read(bytes: &mut Bytes<'_>) -> Result<Self, String> {
        let mut machine = Machine::default();
        loop {
            let at = bytes.position();
            let opcode = bytes.u8()?;
            if opcode == b'.' {
                let root = machine.pop()?;
                return Ok(Self { objects: machine.objects, root });
            }
            machine.step(opcode, bytes).map_err(|reason| format!("at byte {at}: {reason}"))?;
        }
    }

    /// What the pickle was made for.
    pub(super) fn root(&self) -> &Object {
        self.get(self.root)
    }

    /// The entries of a dict whose keys are texts; `None` when `object` is no dict.
    pub(super) fn entries<'a>(&'a self, object: &Object) -> Option<Vec<(&'a str, &'a Object)>> {
        let Object::Dict(entries) = object else { return None };
        let entry = |(key, value): &(Handle, Handle)| match self.get(*key) {
            Object::Text(name) => Some((&**name, self.get(*value))),
            _ => None,
        };
        Some(entries.iter().filter_map(entry).collect())
    }

    /// The texts of the list that was pickled; `None` when it is something else.
    pub(super) fn texts(&self) -> Option<Vec<&str>> {
        let Object::List(items) = self.root() else { return None };
        let text = |item: &Handle| match self.get(*item) {
            Object::Text(text) => Some(&**text),
            _ => None,
        };
        items.iter().map(text).collect()
    }

    /// Every storage that is named.
    pub(super) fn storages(&self) -> impl Iterator<Item = &Storage> {
        self.objects.iter().filter_map(|object| match object {
            Object::Storage(storage) => Some(storage),
            _ => None,
        })
    }

    fn get(&self, handle: Handle) -> &Object {
        &self.objects[handle.0]
    }
}

#[derive(Default)]
struct Machine {
    objects: Vec<Object>,
    stack: Vec<Handle>,
    /// Heights of the stack at each open mark.
    marks: Vec<usize>,
    memo: HashMap<u64, Handle>,
}

impl Machine {
    fn step(&mut self, opcode: u8, bytes: &mut Bytes<'_>) -> Result<(), String> {
        match opcode {
            // Protocol and frame length: nothing depends on them.
            0x80 => bytes.skip(1)?,
            0x95 => bytes.skip(8)?,
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_to_mark()?),
            b'N' => self.push(Object::None),
            0x88 | 0x89 => self.push(Object::Int((opcode == 0x88).into())),
            b'K' => self.push(Object::Int(bytes.u8()?.into())),
            b'M' => self.push(Object::Int(bytes.u16()?.into())),
            b'J' => self.push(Object::Int(bytes.u32()?.cast_signed().into())),
            0x8a => {
                let length = bytes.u8()?.into();
                self.push_long(bytes.take(length)?)?;
            }
            b'G' => {
                bytes.skip(8)?;
                self.push(Object::Float);
            }
            b'X' | b'T' | b'B' => {
                let length = bytes.u32()? as usize;
                self.push_text(bytes.take(length)?)?;
            }
            0x8c | b'U' | b'C' => {
                let length = bytes.u8()?.into();
                self.push_text(bytes.take(length)?)?;
            }
            b')' => self.push(Object::Tuple(Vec::new())),
            b']' => self.push(Object::List(Vec::new())),
            b'}' => self.push(Object::Dict(Vec::new())),
            0x85..=0x87 => self.tuple_of(usize::from(opcode - 0x84))?,
            b't' => {
                let items = self.pop_to_mark()?;
                self.push(Object::Tuple(items));
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' => {
                let items = self.pop_to_mark()?;
                self.append(items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(&[key, value])?;
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.set(&items)?;
            }
            b'q' => self.memoize(bytes.u8()?.into())?,
            b'r' => self.memoize(bytes.u32()?.into())?,
            0x94 => self.memoize(self.memo.len() as u64)?,
            b'h' => self.recall(bytes.u8()?.into())?,
            b'j' => self.recall(bytes.u32()?.into())?,
            b'c' => {
                let module = String::from_utf8_lossy(bytes.line()?);
                let name = String::from_utf8_lossy(bytes.line()?);
                self.push(Object::Callable(Callable::named(&module, &name)?));
            }
            0x93 => {
                let (name, module) = (self.pop_text()?, self.pop_text()?);
                self.push(Object::Callable(Callable::named(&module, &name)?));
            }
            b'Q' => self.storage()?,
            b'R' => self.call()?,
            b'b' => self.ignore_state()?,
            other => return Err(format!("opcode {other:#04x} has no place in a state dict")),
        }
        Ok(())
    }

    fn push(&mut self, object: Object) {
        self.stack.push(Handle(self.objects.len()));
        self.objects.push(object);
    }

    fn push_text(&mut self, bytes: &[u8]) -> Result<(), String> {
        let text = str::from_utf8(bytes).map_err(|_| "a text is not UTF-8")?;
        self.push(Object::Text(text.into()));
        Ok(())
    }

    /// Little-endian two's complement of any length.
    fn push_long(&mut self, bytes: &[u8]) -> Result<(), String> {
        let sign = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
        let mut wide = [sign; 16];
        wide.get_mut(..bytes.len())
            .ok_or("an integer has more than 16 bytes")?
            .copy_from_slice(bytes);
        self.push(Object::Int(i128::from_le_bytes(wide)));
        Ok(())
    }

    fn pop(&mut self) -> Result<Handle, String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err("the stack is empty".to_owned());
        }
        self.stack.pop().ok_or_else(|| "the stack is empty".to_owned())
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Handle>, String> {
        let mark = self.marks.pop().ok_or("there is no mark")?;
        Ok(self.stack.split_off(mark))
    }

    fn pop_text(&mut self) -> Result<Rc<str>, String> {
        let handle = self.pop()?;
        self.text(handle)
    }

    fn top(&mut self) -> Result<&mut Object, String> {
        let top = self.stack.last().ok_or("the stack is empty")?;
        Ok(&mut self.objects[top.0])
    }

    fn tuple_of(&mut self, count: usize) -> Result<(), String> {
        let mut items = (0..count).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?;
        items.reverse();
        self.push(Object::Tuple(items));
        Ok(())
    }

    fn append(&mut self, items: Vec<Handle>) -> Result<(), String> {
        match self.top()? {
            Object::List(list) => list.extend(items),
            _ => return Err("something is appended to what is not a list".to_owned()),
        }
        Ok(())
    }

    fn set(&mut self, items: &[Handle]) -> Result<(), String> {
        let (pairs, []) = items.as_chunks() else {
            return Err("a dict gets a key without a value".to_owned());
        };
        match self.top()? {
            Object::Dict(dict) => dict.extend(pairs.iter().map(|&[key, value]| (key, value))),
            _ => return Err("a key is set in what is not a dict".to_owned()),
        }
        Ok(())
    }

    fn memoize(&mut self, key: u64) -> Result<(), String> {
        let top = *self.stack.last().ok_or("the stack is empty")?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: u64) -> Result<(), String> {
        let handle = *self.memo.get(&key).ok_or_else(|| format!("nothing is memoised as {key}"))?;
        self.stack.push(handle);
        Ok(())
    }

    /// `("storage", class, key, device, length)` becomes a storage.
    fn storage(&mut self) -> Result<(), String> {
        let id = self.pop()?;
        let [_, class, key, _, length, view @ ..] = self.tuple(id)? else {
            return Err("a storage has fewer than 5 fields".to_owned());
        };
        let Object::Callable(Callable::StorageOf(numbers)) = self.get(*class) else {
            return Err("a storage has no class of storages".to_owned());
        };
        if view.iter().any(|&field| !matches!(self.get(field), Object::None)) {
            return Err("a storage is a view of another, which PyTorch wrote before 0.4".to_owned());
        }
        let (key, length) = (self.text(*key)?, self.size(*length)?);
        self.push(Object::Storage(Storage { numbers: *numbers, key, length }));
        Ok(())
    }

    fn call(&mut self) -> Result<(), String> {
        let (arguments, callable) = (self.pop()?, self.pop()?);
        let Object::Callable(callable) = *self.get(callable) else {
            return Err("something is called that cannot be".to_owned());
        };
        let arguments = self.tuple(arguments)?;
        match (callable, arguments) {
            (Callable::OrderedDict, []) => self.push(Object::Dict(Vec::new())),
            // What a size or a parameter is made of stands for it.
            (Callable::Size, &[same]) | (Callable::RebuildParameter, &[same, ..]) => {
                self.stack.push(same);
            }
            (Callable::RebuildTensor, &[storage, offset, shape, strides, ..]) => {
                let tensor = self.tensor(storage, offset, shape, strides)?;
                self.push(Object::Tensor(tensor));
            }
            (callable, arguments) => {
                let count = arguments.len();
                return Err(format!("{callable:?} is called with {count} arguments"));
            }
        }
        Ok(())
    }

    fn tensor(
        &self,
        storage: Handle,
        offset: Handle,
        shape: Handle,
        strides: Handle,
    ) -> Result<StridedTensor, String> {
        let Object::Storage(storage) = self.get(storage) else {
            return Err("a tensor has no storage".to_owned());
        };
        let (shape, strides) = (self.sizes(shape)?, self.sizes(strides)?);
        if shape.len() != strides.len() {
            return Err(format!(
                "a tensor has {} sizes and {} strides",
                shape.len(),
                strides.len()
            ));
        }
        Ok(StridedTensor { storage: storage.clone(), offset: self.size(offset)?, shape, strides })
    }

    fn sizes(&self, tuple: Handle) -> Result<Vec<usize>, String> {
        // The bound is PyTorch's own.
        match self.tuple(tuple)? {
            sizes if sizes.len() <= 64 => sizes.iter().map(|&size| self.size(size)).collect(),
            sizes => Err(format!("a tensor has {} dimensions", sizes.len())),
        }
    }

    /// Attributes of a dict (`_metadata`) hold versions of modules, no numbers.
    fn ignore_state(&mut self) -> Result<(), String> {
        self.pop()?;
        match self.top()? {
            Object::Dict(_) => Ok(()),
            _ => Err("attributes are set on what is not a dict".to_owned()),
        }
    }

    fn get(&self, handle: Handle) -> &Object {
        &self.objects[handle.0]
    }

    fn tuple(&self, handle: Handle) -> Result<&[Handle], String> {
        match self.get(handle) {
            Object::Tuple(items) => Ok(items),
            _ => Err("a tuple is missing".to_owned()),
        }
    }

    fn text(&self, handle: Handle) -> Result<Rc<str>, String> {
        match self.get(handle) {
            Object::Text(text) => Ok(Rc::clone(text)),
            _ => Err("a text is missing".to_owned()),
        }
    }

    fn size(&self, handle: Handle) -> Result<usize, String> {
        match self.get(handle) {
            Object::Int(size) => usize::try_from(*size).map_err(|_| format!("{size} is no size")),
            _ => Err("a size is missing".to_owned()),
        }
    }
}
