//! Limits on the rendering of one template.

use std::sync::{Mutex, PoisonError};

/// Work of one step of a template, such as a look-up or an addition, beside the bytes that it handles.
pub(super) const STEP: u64 = 64;

/// Limits on the rendering of one template, so that no template can stop a program: see
/// [`Template::with_limits`](super::Template::with_limits).
///
/// ```
/// use fanweave::{prompts::{RenderLimits, Template}, vars};
///
/// let text = "{% for a in range(9999) %}{% for b in range(9999) %}{{ a * b }}{% endfor %}{% endfor %}";
/// let error = Template::parse(text)?.render(&vars! {}).unwrap_err();
/// assert_eq!(
///     error.message(),
///     "the template cannot be rendered: line 1: it takes more memory than its limit of 192 MiB",
/// );
///
/// let limits = RenderLimits::default().max_output_bytes(10);
/// let template = Template::parse("{{ text }}")?.with_limits(limits);
/// let error = template.render(&vars! { text: "12 characters" }).unwrap_err();
/// assert!(error.message().ends_with("its text has 13 bytes, and at most 10 are allowed"));
/// # Ok::<_, fanweave::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RenderLimits {
    /// Maximum work of a rendering, in bytes. Default 64 MiB.
    ///
    /// Counts the bytes of all texts and lists that the template makes, prints, compares and sorts, and 64
    /// for each of its steps. It therefore bounds both memory and time: the default is reached after about a
    /// tenth of a second. The values of the variables count only where the template uses them.
    pub work_bytes: u64,
    /// Maximum length of the text, in bytes. Default 16 MiB: about four times the largest context of a model.
    pub output_bytes: usize,
    /// Maximum memory of a rendering, in bytes, beside that of its variables. Default 192 MiB.
    ///
    /// A rendering takes at most three bytes of memory for a byte of its work, so it ends at a third of this
    /// if that is less than [`work_bytes`](Self::work_bytes). Renderings that take long run on the
    /// [threads](super::render_threads) for them, which bounds the memory of all.
    pub memory_bytes: u64,
}

/// Maximum memory of a byte of work. Source: `tests/attack/run.sh --only bombs` measures it for all
/// templates of `guard/bombs.txt`.
const MEMORY_OF_WORK: u64 = 3;

static FOR_PROCESS: Mutex<Option<RenderLimits>> = Mutex::new(None);

impl RenderLimits {
    /// Sets [`work_bytes`](Self::work_bytes).
    #[must_use]
    pub fn max_work_bytes(mut self, bytes: u64) -> Self {
        self.work_bytes = bytes;
        self
    }

    /// Sets [`output_bytes`](Self::output_bytes).
    #[must_use]
    pub fn max_output_bytes(mut self, bytes: usize) -> Self {
        self.output_bytes = bytes;
        self
    }

    /// Sets [`memory_bytes`](Self::memory_bytes).
    #[must_use]
    pub fn max_memory_bytes(mut self, bytes: u64) -> Self {
        self.memory_bytes = bytes;
        self
    }

    /// Makes these the limits of all templates that are parsed after this, in the whole process. It is meant
    /// for programs: a library sets the limits of its own templates.
    pub fn set_for_process(self) {
        *FOR_PROCESS.lock().unwrap_or_else(PoisonError::into_inner) = Some(self);
    }

    /// The limits of templates for which none are set.
    pub(super) fn for_process() -> Self {
        FOR_PROCESS.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or_default()
    }

    /// Work in bytes that the limits of work and memory allow, beside `used` bytes of memory.
    pub(super) fn work(self, used: u64) -> u64 {
        self.work_bytes.min(self.memory_bytes.saturating_sub(used) / MEMORY_OF_WORK)
    }

    /// Returns true if a rendering that uses `used` bytes of memory from its start ends at its memory.
    pub(super) fn is_bounded_by_memory(self, used: u64) -> bool {
        self.work(used) < self.work_bytes
    }
}

/// Work in the steps of the language.
pub(super) fn fuel(work_bytes: u64) -> u64 {
    work_bytes.div_ceil(STEP).max(1)
}

impl Default for RenderLimits {
    fn default() -> Self {
        Self { work_bytes: 64 << 20, output_bytes: 16 << 20, memory_bytes: 192 << 20 }
    }
}
