//! The branch of a run that a step is part of: the same in every run of the same chain.

use serde::{Deserialize, Serialize};

use super::Context;

/// A branch of a run. Steps that follow each other are in one branch; steps that run concurrently are in
/// different ones.
///
/// It depends only on the [forks](Context::fork) that led to the step, never on the order in which calls are
/// answered: a run that is repeated has the same branches. The value is stable across versions and machines.
///
/// ```
/// use fanweave::Context;
///
/// let cx = Context::new();
/// assert_eq!(cx.fork(3).branch_id(), Context::new().fork(3).branch_id());
/// assert_ne!(cx.fork(3).branch_id(), cx.fork(4).branch_id());
/// assert_ne!(cx.fork(0).branch_id(), cx.branch_id());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BranchId(u64);

impl BranchId {
    /// The branch of that part.
    const fn child(self, part: u64) -> Self {
        Self(mix(mix(self.0.wrapping_add(STEP)).wrapping_add(part.wrapping_mul(STEP))))
    }
}

/// Increment of SplitMix64.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The mixing of SplitMix64: neighbours differ in half of their bits.
const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl Context {
    /// The same run, for one of several parts that run concurrently.
    ///
    /// A step that runs others concurrently gives each its own number, which must not depend on timing: the
    /// index of the branch or of the item. A [hook of calls](crate::model::CallHook) then distinguishes equal
    /// prompts of different parts.
    ///
    /// ```
    /// use fanweave::crates::futures;
    /// use fanweave::{Prompt, Runnable, step, testing::Fake};
    ///
    /// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
    /// let model = Fake::echo().model();
    /// let two = step(move |question: Prompt, cx| {
    ///     let model = model.clone();
    ///     async move {
    ///         let (first, second) = (cx.fork(0), cx.fork(1));
    ///         futures::try_join!(model.run(question.clone(), &first), model.run(question, &second))
    ///     }
    /// });
    /// assert_eq!(two.invoke("hello").await?.1.text(), "hello");
    /// # Ok(())
    /// # }) }
    /// ```
    #[must_use]
    pub fn fork(&self, part: u64) -> Self {
        Self { branch: self.branch.child(part), ..self.clone() }
    }

    /// The branch that the step is part of.
    pub fn branch_id(&self) -> BranchId {
        self.branch
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn branches_of_nested_forks_are_distinct() {
        let mut seen = HashSet::from([Context::new().branch_id()]);
        for outer in (0..200).chain([u64::MAX]) {
            let outer = Context::new().fork(outer);
            assert!(seen.insert(outer.branch_id()));
            for inner in (0..200).chain([u64::MAX]) {
                assert!(seen.insert(outer.fork(inner).branch_id()));
            }
        }
    }

    #[test]
    fn branch_ids_stay_the_same_across_versions() {
        // Journals contain them.
        let ids = [Context::new(), Context::new().fork(0), Context::new().fork(1).fork(2)];
        let text = serde_json::to_string(&ids.map(|cx| cx.branch_id())).unwrap();
        assert_eq!(text, "[0,5197578548964807871,920862675595841680]");
    }
}
