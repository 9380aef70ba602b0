//! Guards for the operators of a template.
//!
//! The template language counts the bytes that its steps make. It does not count how often a value is
//! contained in another, nor how deep it is, nor the texts that are compared, and it has no hook for
//! operators. The compiled steps of a template that could make such values are therefore copied, with a
//! filter of [`filters`](super::filters) before or after each of them.
//!
//! Prompts without these steps, which are nearly all of them, are rendered as they are.

use std::collections::BTreeSet;

use minijinja::machinery::{Instruction, Instructions};

use super::filters::{
    ADD, CALLED, COMPARE, CYCLE, EACH, EACH_FIELD, IN, JSON, MADE, Priced, READ, SET, SETTLED, SLICE, SORT,
    WEIGH,
};

/// A filter or test that is looked up by its name.
const BY_NAME: u8 = !0;

/// The filters around a step.
enum Guard {
    None,
    /// A filter for its two operands.
    Before(&'static str),
    /// A filter for its result.
    After(&'static str),
    /// Filters for arguments, whose number may be found at run time, and for the result.
    Arguments {
        filter: Priced,
        count: Option<u16>,
        after: Option<&'static str>,
    },
    /// Lists are added by the guard itself.
    Add,
    /// The step is not known: a later version of the language, or one with more features, added it.
    Unknown,
}

/// Filters that compare items with each other.
const SORTING: [&str; 4] = ["max", "min", "sort", "unique"];

/// Filters that make lists of lists, beside comparing items.
const GROUPING: [&str; 2] = ["dictsort", "groupby"];

/// Other filters that make lists of lists, or lists that are longer than their input.
const LISTING: [&str; 6] = ["batch", "chain", "items", "slice", "sum", "zip"];

/// Filters whose work does not depend on what a list contains.
const CHEAP: [&str; 10] =
    ["attr", "bool", "count", "d", "default", "first", "last", "length", "list", "safe"];

/// Tests that read all of a value.
const COMPARING: [&str; 18] = [
    "!=",
    "<",
    "<=",
    "==",
    ">",
    ">=",
    "endingwith",
    "eq",
    "equalto",
    "ge",
    "greaterthan",
    "gt",
    "in",
    "le",
    "lessthan",
    "lt",
    "ne",
    "startingwith",
];

/// The guard of a step, and whether a template that contains it needs guards at all.
fn guard(step: &Instruction<'_>, with_constant: bool) -> (Guard, bool) {
    match step {
        Instruction::EmitRaw(_)
        | Instruction::StoreLocal(_)
        | Instruction::Lookup(_)
        | Instruction::GetAttr(_)
        | Instruction::GetItem
        | Instruction::LoadConst(_)
        | Instruction::BuildKwargs(_)
        | Instruction::MergeKwargs(_)
        | Instruction::UnpackList(_)
        | Instruction::UnpackLists(_)
        | Instruction::Sub
        | Instruction::Div
        | Instruction::IntDiv
        | Instruction::Rem
        | Instruction::Pow
        | Instruction::Neg
        | Instruction::Not
        | Instruction::Emit
        | Instruction::PushLoop(_)
        | Instruction::PushWith
        | Instruction::Iterate(_)
        | Instruction::PushDidNotIterate
        | Instruction::PopFrame
        | Instruction::PopLoopFrame
        | Instruction::Jump(_)
        | Instruction::JumpIfFalse(_)
        | Instruction::JumpIfFalseOrPop(_)
        | Instruction::JumpIfTrueOrPop(_)
        | Instruction::PushAutoEscape
        | Instruction::PopAutoEscape
        | Instruction::BeginCapture(_)
        | Instruction::EndCapture
        | Instruction::DupTop
        | Instruction::DiscardTop
        | Instruction::FastRecurse
        | Instruction::Swap => (Guard::None, false),
        Instruction::BuildMap(_) | Instruction::BuildList(_) | Instruction::BuildTuple(_) => {
            (Guard::After(MADE), true)
        }
        Instruction::Mul => (Guard::After(MADE), true),
        Instruction::Slice => {
            (Guard::Arguments { filter: SLICE, count: Some(4), after: Some(SETTLED) }, true)
        }
        Instruction::SetAttr(_) => (Guard::Before(SET), true),
        // A constant that can be added is a number or a text.
        Instruction::Add if with_constant => (Guard::None, false),
        Instruction::Add => (Guard::Add, true),
        // The language pays for texts.
        Instruction::StringConcat => (Guard::Before(WEIGH.some), false),
        Instruction::Eq
        | Instruction::Ne
        | Instruction::Gt
        | Instruction::Gte
        | Instruction::Lt
        | Instruction::Lte
        | Instruction::CompareAndPreserve(_) => {
            if with_constant {
                (Guard::None, false)
            } else {
                (Guard::Before(COMPARE), true)
            }
        }
        Instruction::In => (Guard::Before(IN), true),
        Instruction::ApplyFilter(name, count, _) => filter(name, *count),
        Instruction::PerformTest(name, count, _) => {
            if COMPARING.contains(name) {
                (Guard::Arguments { filter: READ, count: *count, after: None }, true)
            } else {
                (Guard::None, false)
            }
        }
        Instruction::CallFunction("range", _) => (Guard::After(CALLED), false),
        Instruction::CallFunction(..) | Instruction::CallObject(_) => (Guard::After(CALLED), true),
        Instruction::CallMethod("changed", count) => {
            (Guard::Arguments { filter: READ, count: *count, after: None }, true)
        }
        Instruction::CallMethod("cycle", count) => {
            (Guard::Arguments { filter: CYCLE, count: *count, after: None }, true)
        }
        Instruction::CallMethod(..) => (Guard::After(CALLED), true),
        #[expect(unreachable_patterns, reason = "another crate may turn on a feature that adds steps")]
        _ => (Guard::Unknown, true),
    }
}

fn filter(name: &str, count: Option<u16>) -> (Guard, bool) {
    let priced = |filter, after| Guard::Arguments { filter, count, after };
    match name {
        "map" => (priced(EACH, Some(MADE)), true),
        "select" | "reject" => (priced(EACH, None), true),
        "selectattr" | "rejectattr" => (priced(EACH_FIELD, None), true),
        "tojson" if count != Some(1) => (priced(JSON, None), true),
        "reverse" => (Guard::After(SETTLED), true),
        name if SORTING.contains(&name) => (priced(SORT, None), true),
        name if GROUPING.contains(&name) => (priced(SORT, Some(MADE)), true),
        name if LISTING.contains(&name) => (Guard::After(MADE), true),
        // They make lists, which the next step may write out.
        "split" | "lines" => (Guard::None, true),
        name if CHEAP.contains(&name) => (Guard::None, false),
        // Filters of texts write lists out.
        _ => (priced(WEIGH, None), false),
    }
}

/// The result of a look at the steps of a template.
pub(super) enum Steps {
    /// They are rendered as they are.
    Plain,
    /// They are rendered with guards, of which there are so many steps at most.
    Guarded(u64),
    /// The step of this line is not known.
    Unknown(usize),
}

/// Looks at all steps.
pub(super) fn check(steps: &Instructions<'_>) -> Steps {
    let targets = targets(steps);
    let mut is_guarded = false;
    let mut count = 0;
    for (at, step) in all(steps) {
        let (guard, needs_guards) = guard(step, with_constant(steps, &targets, at));
        count += match guard {
            Guard::Unknown => return Steps::Unknown(steps.get_line(at).unwrap_or(1)),
            Guard::None => 1,
            _ => MAX_GUARDED,
        };
        is_guarded |= needs_guards;
    }
    if is_guarded { Steps::Guarded(count) } else { Steps::Plain }
}

/// Steps that a step becomes with its guard, at most.
const MAX_GUARDED: u64 = 6;

/// A copy of the steps with guards.
pub(super) fn guarded<'a>(steps: &Instructions<'a>) -> Instructions<'a> {
    let targets = targets(steps);
    let mut copy = Copied { steps: Instructions::new(steps.name(), steps.source()), len: 0, line: 0 };
    // The offset of each step in the copy, with the guards before it.
    let mut offsets = Vec::new();
    for (at, step) in all(steps) {
        offsets.push(copy.len);
        copy.line = steps.get_line(at).and_then(|line| u16::try_from(line).ok()).unwrap_or_default();
        copy.add(step, guard(step, with_constant(steps, &targets, at)).0);
    }
    offsets.push(copy.len);
    for at in 0..copy.len {
        if let Some(
            Instruction::Iterate(target)
            | Instruction::Jump(target)
            | Instruction::JumpIfFalse(target)
            | Instruction::JumpIfFalseOrPop(target)
            | Instruction::JumpIfTrueOrPop(target),
        ) = copy.steps.get_mut(at)
        {
            *target = if *target & INNER == 0 { offsets[*target as usize] } else { *target & !INNER };
        }
    }
    copy.steps
}

struct Copied<'a> {
    steps: Instructions<'a>,
    len: u32,
    line: u16,
}

impl<'a> Copied<'a> {
    fn add(&mut self, step: &Instruction<'a>, guard: Guard) {
        match guard {
            Guard::None | Guard::Unknown => self.push(step.clone()),
            Guard::Before(name) => {
                self.apply(name, Some(2));
                self.push(Instruction::UnpackList(2));
                self.push(step.clone());
            }
            Guard::After(name) => {
                self.push(step.clone());
                self.apply(name, Some(1));
            }
            Guard::Arguments { filter, count, after } => {
                if let Some(count) = count {
                    self.apply(filter.some, Some(count));
                    self.push(Instruction::UnpackList(count.into()));
                } else {
                    self.apply(filter.all, None);
                    self.push(Instruction::UnpackLists(1));
                }
                self.push(step.clone());
                if let Some(name) = after {
                    self.apply(name, Some(1));
                }
            }
            Guard::Add => {
                let first = self.len;
                self.apply(ADD, Some(2));
                // Both operands and true, or the sum, nothing and false.
                self.push(Instruction::UnpackList(3));
                self.push(Instruction::JumpIfFalse(INNER | (first + 5)));
                self.push(step.clone());
                self.push(Instruction::Jump(INNER | (first + 6)));
                self.push(Instruction::DiscardTop);
            }
        }
    }

    fn apply(&mut self, filter: &'static str, count: Option<u16>) {
        self.push(Instruction::ApplyFilter(filter, count, BY_NAME));
    }

    fn push(&mut self, step: Instruction<'a>) {
        self.steps.add_with_line(step, self.line);
        self.len += 1;
    }
}

/// Marks jumps within a guard, whose targets are offsets in the copy.
const INNER: u32 = 1 << 31;

pub(super) fn all<'a, 's>(steps: &'a Instructions<'s>) -> impl Iterator<Item = (u32, &'a Instruction<'s>)> {
    (0..).map_while(|at| Some((at, steps.get(at)?)))
}

/// The steps to which others jump.
pub(super) fn targets(steps: &Instructions<'_>) -> BTreeSet<u32> {
    all(steps)
        .filter_map(|(_, step)| match step {
            Instruction::Iterate(target)
            | Instruction::Jump(target)
            | Instruction::JumpIfFalse(target)
            | Instruction::JumpIfFalseOrPop(target)
            | Instruction::JumpIfTrueOrPop(target) => Some(*target),
            _ => None,
        })
        .collect()
}

/// Returns true if the right operand of a step is always a constant, and not a list.
pub(super) fn with_constant(steps: &Instructions<'_>, targets: &BTreeSet<u32>, at: u32) -> bool {
    let before = at.checked_sub(1).and_then(|at| steps.get(at));
    !targets.contains(&at)
        && matches!(before, Some(Instruction::LoadConst(value)) if value.as_object().is_none())
}

#[cfg(test)]
mod tests;
