//! Limits on the rendering of one template.

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
///     "the template cannot be rendered: line 1: it takes more work than its limit of 64 MiB",
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
}

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

    /// The work in steps.
    pub(super) fn fuel(self) -> u64 {
        self.work_bytes.div_ceil(STEP).max(1)
    }
}

impl Default for RenderLimits {
    fn default() -> Self {
        Self { work_bytes: 64 << 20, output_bytes: 16 << 20 }
    }
}
