//! Values of any type that a run carries for the steps that know the type.

use std::any::{Any, TypeId, type_name};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use super::Context;
use crate::{Parameters, task_locals};

/// Values of a run, at most one of each type. Cheap to clone; without values it allocates nothing.
///
/// ```
/// use std::sync::Arc;
/// use fanweave::context::Extensions;
///
/// #[derive(Debug, PartialEq)]
/// struct Tenant(&'static str);
///
/// let inner = Extensions::new().with(Arc::new(Tenant("inner")));
/// let outer = Extensions::new().with(Arc::new(Tenant("outer"))).with(Arc::new(7u32));
/// let both = inner.or(&outer);
/// assert_eq!(both.get::<Tenant>().as_deref(), Some(&Tenant("inner")));
/// assert_eq!(both.get::<u32>().as_deref(), Some(&7));
/// ```
#[derive(Clone, Default)]
pub struct Extensions(Option<Arc<[Entry]>>);

#[derive(Clone)]
struct Entry {
    key: TypeId,
    name: &'static str,
    /// `None` hides the value of an outer scope.
    value: Option<Arc<dyn Any + Send + Sync>>,
}

impl Extensions {
    /// No values.
    pub const fn new() -> Self {
        Self(None)
    }

    /// Adds a value, in place of an earlier one of the same type.
    #[must_use]
    pub fn with<T: Any + Send + Sync>(self, value: Arc<T>) -> Self {
        self.set::<T>(Some(value))
    }

    /// Removes the value of a type, and [hides](Self::or) that of an outer scope.
    #[must_use]
    pub fn without<T: Any + Send + Sync>(self) -> Self {
        self.set::<T>(None)
    }

    fn set<T: Any>(self, value: Option<Arc<dyn Any + Send + Sync>>) -> Self {
        let entry = Entry { key: TypeId::of::<T>(), name: type_name::<T>(), value };
        let others = self.entries().iter().filter(|other| other.key != entry.key);
        Self(Some(others.cloned().chain([entry.clone()]).collect()))
    }

    /// The value of that type.
    pub fn get<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.find::<T>()?.value.clone()?.downcast().ok()
    }

    pub(super) fn get_ref<T: Any>(&self) -> Option<&T> {
        self.find::<T>()?.value.as_deref()?.downcast_ref()
    }

    /// These values, completed by those of an outer scope.
    #[must_use]
    pub fn or(self, outer: &Self) -> Self {
        if self.0.is_none() {
            return outer.clone();
        }
        let missing: Vec<_> =
            outer.entries().iter().filter(|entry| self.entry(entry.key).is_none()).cloned().collect();
        if missing.is_empty() {
            return self;
        }
        Self(Some(self.entries().iter().cloned().chain(missing).collect()))
    }

    fn find<T: Any>(&self) -> Option<&Entry> {
        self.entry(TypeId::of::<T>())
    }

    // There are few: a linear search is the fastest.
    fn entry(&self, key: TypeId) -> Option<&Entry> {
        self.0.as_ref()?.iter().find(|entry| entry.key == key)
    }

    fn entries(&self) -> &[Entry] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl fmt::Debug for Extensions {
    /// The types of the values: the values may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = self.entries().iter().filter(|entry| entry.value.is_some());
        f.debug_list().entries(set.map(|entry| entry.name)).finish()
    }
}

impl Context {
    /// Adds a value for the steps of the run that ask for its type with [`extension`](Self::extension).
    ///
    /// Everything below inherits it. It replaces an earlier value of the same type, is never serialised, and
    /// stays in memory until the last clone of the context is dropped.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use fanweave::{Context, step};
    ///
    /// struct Tenant(String);
    ///
    /// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
    /// let greet = step(|(), cx: Context| async move {
    ///     Ok(format!("Hello {}", cx.extension::<Tenant>().map_or("guest".into(), |t| t.0.clone())))
    /// });
    /// let cx = Context::new().with_extension(Arc::new(Tenant("Ada".into())));
    /// assert_eq!(greet.invoke_in((), &cx).await?, "Hello Ada");
    /// assert_eq!(greet.invoke(()).await?, "Hello guest");
    /// # Ok(())
    /// # }) }
    /// ```
    #[must_use]
    pub fn with_extension<T: Any + Send + Sync>(self, value: Arc<T>) -> Self {
        self.with(|s| s.extensions = std::mem::take(&mut s.extensions).with(value))
    }

    /// Removes the value of a type for everything below, including one of the enclosing scope.
    #[must_use]
    pub fn without_extension<T: Any + Send + Sync>(self) -> Self {
        self.with(|s| s.extensions = std::mem::take(&mut s.extensions).without::<T>())
    }

    /// The value of that type: that of this context, or else that of the enclosing scope. The innermost wins.
    pub fn extension<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        match self.shared.extensions.find::<T>() {
            Some(entry) => entry.value.clone()?.downcast().ok(),
            None => task_locals::here()?.get(),
        }
    }

    /// Like [`extension`](Self::extension), but only the values of this context.
    #[doc(hidden)]
    pub fn own_extension<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.shared.extensions.get_ref()
    }

    /// Changes a copy of the value of that type.
    pub(super) fn change_extension<T: Any + Default + Clone + Send + Sync>(
        self,
        change: impl FnOnce(&mut T),
    ) -> Self {
        let mut value = self.own_extension::<T>().cloned().unwrap_or_default();
        change(&mut value);
        self.with_extension(Arc::new(value))
    }
}

/// The chosen alternatives, by name of the part.
#[derive(Clone, Default)]
pub(super) struct Choices(pub(super) Vec<(Arc<str>, Choice)>);

/// The choice of an alternative.
#[derive(Clone)]
pub(super) struct Choice {
    pub(super) alternative: Arc<str>,
    /// Set once a part has asked for it.
    pub(super) is_used: Arc<AtomicBool>,
    /// Set within a run that checks it.
    pub(super) is_checked: bool,
}

/// The choices of a run that no part has asked for yet.
pub(crate) struct NewChoices(Vec<(Arc<str>, Arc<AtomicBool>)>);

impl NewChoices {
    /// The parts that nothing has asked for.
    pub(crate) fn unused(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|(_, is_used)| !is_used.load(Relaxed)).map(|(part, _)| &**part)
    }
}

impl Context {
    /// The context for a whole run with the choices that are new in it. `None` without any.
    pub(crate) fn checking_choices(&self) -> Option<(Self, NewChoices)> {
        let Choices(choices) = self.own_extension()?;
        let is_new = |(_, choice): &&(Arc<str>, Choice)| !choice.is_checked;
        let new: Vec<_> = choices
            .iter()
            .filter(is_new)
            .map(|(part, choice)| (part.clone(), choice.is_used.clone()))
            .collect();
        if new.is_empty() {
            return None;
        }
        let checked = self.clone().change_extension(|Choices(choices)| {
            choices.iter_mut().for_each(|(_, choice)| choice.is_checked = true);
        });
        Some((checked, NewChoices(new)))
    }
}

/// The parameters set for parts, by name of the part.
#[derive(Clone, Default)]
pub(super) struct PartParameters(pub(super) Vec<(Arc<str>, Parameters)>);

/// Maximum number of decisions on further steps in one run.
pub(super) struct RecursionLimit(pub(super) u32);

/// Set if stored answers are not to be used.
pub(super) struct Fresh;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocking::Pool;
    use crate::{chain, step};

    #[derive(Debug, PartialEq)]
    struct Tenant(&'static str);

    #[derive(Debug, PartialEq)]
    struct Region(&'static str);

    #[test]
    fn an_extension_is_inherited_and_the_innermost_wins() {
        let outer =
            Context::new().with_extension(Arc::new(Tenant("a"))).with_extension(Arc::new(Region("eu")));
        let inner = outer.clone().with_extension(Arc::new(Tenant("b")));
        assert_eq!(inner.extension::<Tenant>().as_deref(), Some(&Tenant("b")));
        assert_eq!(inner.extension::<Region>().as_deref(), Some(&Region("eu")));
        assert_eq!(outer.extension::<Tenant>().as_deref(), Some(&Tenant("a")));
        assert_eq!(inner.without_extension::<Tenant>().extension::<Tenant>(), None);
    }

    #[tokio::test]
    async fn two_kinds_of_task_locals_do_not_hide_each_other() {
        let read = || {
            let cx = Context::new();
            (cx.extension::<Tenant>(), cx.extension::<Region>())
        };
        let inner = async {
            task_locals::within(Extensions::new().with(Arc::new(Region("eu"))), async move { read() }).await
        };
        let seen = task_locals::within(Extensions::new().with(Arc::new(Tenant("a"))), inner).await;
        assert_eq!(seen, (Some(Arc::new(Tenant("a"))), Some(Arc::new(Region("eu")))));
        assert_eq!(read(), (None, None));
    }

    #[tokio::test]
    async fn a_removed_extension_hides_that_of_the_scope() {
        let scope = Extensions::new().with(Arc::new(Tenant("scope")));
        task_locals::within(scope, async {
            let own = Context::new().with_extension(Arc::new(Tenant("own")));
            assert_eq!(own.extension::<Tenant>().as_deref(), Some(&Tenant("own")));
            assert_eq!(own.without_extension::<Tenant>().extension::<Tenant>(), None);
            assert_eq!(Context::new().extension::<Tenant>().as_deref(), Some(&Tenant("scope")));
        })
        .await;
    }

    #[tokio::test]
    async fn extensions_reach_rows_of_a_batch_and_blocking_threads() {
        let names = step(|_: u32, cx: Context| async move {
            let on_thread = Pool::shared().run(|| Context::new().extension::<Region>().map(|r| r.0)).await?;
            Ok((cx.extension::<Tenant>().map(|t| t.0), on_thread))
        });
        let cx = Context::new().with_extension(Arc::new(Tenant("a")));
        let rows = async { chain(names).batch(0..3u32).within(cx).collect().await };
        let rows = task_locals::within(Extensions::new().with(Arc::new(Region("eu"))), rows).await;
        assert_eq!(rows.len(), 3);
        for row in rows {
            assert_eq!(row.unwrap(), (Some("a"), Some("eu")));
        }
    }

    #[test]
    fn debug_shows_types_and_no_values() {
        let all = Extensions::new().with(Arc::new(Tenant("secret"))).without::<Region>();
        let text = format!("{all:?}");
        assert!(text.contains("Tenant") && !text.contains("Region") && !text.contains("secret"), "{text}");
    }
}
