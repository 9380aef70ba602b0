//! The weight and the depth of values that a template makes.
//!
//! The template language counts the work of its steps, but not how often a value is contained in another: 40
//! times `[x, x]` are 40 steps, and a text of terabytes. A value is therefore measured when it is made, as if
//! each of its parts were a copy, and refused if the rest of the work could not pay for it, or if it is so
//! deep that dropping it would end the stack.

use std::cell::RefCell;
use std::collections::BTreeMap;

use minijinja::value::{DynObject, ObjectRepr, Tuple, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

use super::limits::STEP;

/// Maximum depth of lists within lists. Source: the depth at which JSON is refused.
const MAX_DEPTH: u32 = 128;

/// Work of an item of a list. Source: the size of a value is 24 bytes, and most lists are freed early.
pub(super) const ITEM: u64 = 8;

/// Facts about a value and all that it contains.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Weight {
    /// Bytes, with each part counted as often as it is contained.
    pub(super) bytes: u64,
    /// Levels of lists and maps.
    pub(super) depth: u32,
    /// Set if the value contains a namespace, a loop or a function: it may change, or lead back to itself.
    pub(super) is_bound: bool,
}

impl Weight {
    /// The weight of both, side by side.
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            depth: self.depth.max(other.depth),
            is_bound: self.is_bound || other.is_bound,
        }
    }
}

/// Pays for work of `bytes`.
pub(super) fn pay(state: &State<'_, '_>, bytes: u64) -> Result<(), Error> {
    if bytes == 0 { Ok(()) } else { state.consume_fuel(bytes.div_ceil(STEP)) }
}

/// The rest of the work, in bytes.
pub(super) fn left(state: &State<'_, '_>) -> u64 {
    state.fuel_levels().map_or(u64::MAX, |(_, left)| left.saturating_mul(STEP))
}

/// Fails if the rest of the work cannot pay for `bytes`, which are not paid yet.
pub(super) fn afford(state: &State<'_, '_>, bytes: u64) -> Result<(), Error> {
    if bytes > left(state) { Err(ErrorKind::OutOfFuel.into()) } else { Ok(()) }
}

/// Measures a value. Pays for the walk, which ends as soon as the work does.
pub(super) fn weigh(state: &State<'_, '_>, value: &Value) -> Result<Weight, Error> {
    let mut walk = Walk { state, visits: 0 };
    let weight = walk.measure(value, 0)?;
    pay(state, walk.visits * ITEM)?;
    remember(value, weight);
    Ok(weight)
}

/// Refuses a value that was just made if it is too heavy or too deep.
pub(super) fn admit(state: &State<'_, '_>, value: &Value) -> Result<Weight, Error> {
    let weight = weigh(state, value)?;
    afford(state, weight.bytes)?;
    Ok(weight)
}

/// Turns an iterator into a list: its depth is not visible, and it may do its work many times.
pub(super) fn settle(state: &State<'_, '_>, value: Value) -> Result<Value, Error> {
    let Some(object) = value.as_object() else { return Ok(value) };
    let is_lazy = match object.repr() {
        ObjectRepr::Seq => identity(object).is_none() && !object.type_name().ends_with("GroupTuple"),
        ObjectRepr::Iterable => true,
        _ => false,
    };
    if !is_lazy {
        return Ok(value);
    }
    if let Some(len) = object.enumerator_len() {
        afford(state, (len as u64).saturating_mul(ITEM))?;
    }
    let Some(items) = object.try_iter() else { return Ok(value) };
    Ok(Value::from(collect(state, items, Vec::new())?))
}

/// Appends items to a list, and pays for them.
pub(super) fn collect(
    state: &State<'_, '_>,
    items: impl Iterator<Item = Value>,
    mut list: Vec<Value>,
) -> Result<Vec<Value>, Error> {
    for item in items {
        if item.kind() == ValueKind::Invalid {
            return Err(Error::new(ErrorKind::InvalidOperation, item.to_string()));
        }
        if list.len().is_multiple_of(64) {
            pay(state, 64 * ITEM)?;
        }
        list.push(item);
    }
    Ok(list)
}

/// One measurement.
struct Walk<'a> {
    state: &'a State<'a, 'a>,
    visits: u64,
}

impl Walk<'_> {
    fn measure(&mut self, value: &Value, level: u32) -> Result<Weight, Error> {
        self.visits += 1;
        if self.visits == 1_024 {
            pay(self.state, self.visits * ITEM)?;
            self.visits = 0;
        }
        let Some(object) = value.as_object() else {
            let bytes = value.as_bytes().map_or(0, <[u8]>::len) as u64;
            return Ok(Weight { bytes: ITEM + bytes, ..Weight::default() });
        };
        let known = recall(object);
        if level + known.map_or(1, |weight| weight.depth) > MAX_DEPTH {
            let message = format!("it makes values of more than {MAX_DEPTH} levels");
            return Err(Error::new(ErrorKind::InvalidOperation, message));
        }
        if let Some(weight) = known {
            return Ok(weight);
        }
        let mut total = Weight::default();
        let mut add = |walk: &mut Self, item: &Value| {
            total = total.plus(walk.measure(item, level + 1)?);
            Ok::<_, Error>(())
        };
        if let Some(items) = slice(object) {
            items.iter().try_for_each(|item| add(self, item))?;
        } else {
            match object.repr() {
                ObjectRepr::Map if object.type_name().contains("Map<") => {
                    for (key, value) in object.try_iter_pairs().into_iter().flatten() {
                        add(self, &key)?;
                        add(self, &value)?;
                    }
                }
                // Its values may be replaced after this.
                ObjectRepr::Map if object.type_name().ends_with("Namespace") => {
                    for (_, value) in object.try_iter_pairs().into_iter().flatten() {
                        add(self, &value)?;
                    }
                    total.is_bound = true;
                }
                ObjectRepr::Seq | ObjectRepr::Iterable => {
                    object.try_iter().into_iter().flatten().try_for_each(|item| add(self, &item))?;
                }
                _ => total.is_bound = true,
            }
        }
        total.bytes = total.bytes.saturating_add(STEP);
        total.depth += 1;
        Ok(total)
    }
}

fn slice(object: &DynObject) -> Option<&[Value]> {
    let list = object.downcast_ref::<Vec<Value>>().map(Vec::as_slice);
    list.or_else(|| object.downcast_ref::<Tuple>().map(|tuple| &**tuple))
}

/// The address of a value that cannot change.
fn identity(object: &DynObject) -> Option<usize> {
    let list = object.downcast_ref::<Vec<Value>>().map(|list| std::ptr::from_ref(list).addr());
    list.or_else(|| object.downcast_ref::<Tuple>().map(|tuple| std::ptr::from_ref(tuple).addr()))
        .or_else(|| object.downcast_ref::<BTreeMap<Value, Value>>().map(|map| std::ptr::from_ref(map).addr()))
}

/// Number of values whose weight is kept. A value that grows in a loop is among the last few.
const RECENT: usize = 16;

#[derive(Default)]
struct Recent {
    /// The values are kept so that no other can get their address.
    known: Vec<(usize, Weight, Value)>,
    next: usize,
}

thread_local! {
    static RECENT_VALUES: RefCell<Recent> = RefCell::default();
}

/// Keeps the weights of a rendering on this thread until it ends.
pub(super) struct Session;

impl Drop for Session {
    fn drop(&mut self) {
        // Taken first: the values are dropped when the cell is free again.
        drop(RECENT_VALUES.take());
    }
}

fn recall(object: &DynObject) -> Option<Weight> {
    let address = identity(object)?;
    RECENT_VALUES.with_borrow(|recent| {
        recent.known.iter().find(|(known, ..)| *known == address).map(|(_, weight, _)| *weight)
    })
}

pub(super) fn remember(value: &Value, weight: Weight) {
    let Some(address) = value.as_object().and_then(identity) else { return };
    if weight.is_bound {
        return;
    }
    let entry = (address, weight, value.clone());
    let _replaced = RECENT_VALUES.with_borrow_mut(|recent| {
        if recent.known.iter().any(|(known, ..)| *known == address) {
            return Some(entry);
        }
        let at = recent.next;
        recent.next = (at + 1) % RECENT;
        match recent.known.get_mut(at) {
            Some(slot) => Some(std::mem::replace(slot, entry)),
            None => {
                recent.known.push(entry);
                None
            }
        }
    });
}
