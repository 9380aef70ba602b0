//! A vendor: a row of the table, one that the program registers, or one of a single model.

mod registry;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use fanweave_core::{Error, ErrorKind, Result};

use crate::protocol::Protocol;
use crate::providers::compatible::{AZURE_ENDPOINT, BaseUrl, DATABRICKS_HOST, OLLAMA_HOST, Row};
use crate::providers::dialect::Dialect;
use crate::providers::openai::{Quirks, SendBack};
use crate::transport::keys::KeyHeader;
use crate::variable::set;

pub use self::registry::{key_variables, register, vendors};

/// A vendor: where its API is, how a key gets there, and which dialect it uses.
///
/// For a vendor that is not among the [`vendors`]. [`register`] it, so that its models can be named like all
/// others, or pass it to [`ModelBuilder::vendor`](crate::ModelBuilder::vendor).
///
/// ```
/// use fanweave::models::{ModelBuilder, Quirks, Vendor, register};
///
/// register(
///     Vendor::new("acme", "https://api.acme.example/v1")
///         .key_variable("ACME_API_KEY")
///         .quirks(Quirks::new().max_completion_tokens(true)),
/// )?;
/// let model = ModelBuilder::new("acme/writer-2").api_key("a key").build()?;
/// assert_eq!(model.name(), "acme/writer-2");
/// # Ok::<_, fanweave::Error>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct Vendor {
    name: Cow<'static, str>,
    dialect: VendorDialect,
    address: Address,
    key_variables: Vec<Cow<'static, str>>,
    /// `None`: if there is a variable for the key.
    needs_key: Option<bool>,
    key_header: KeyHeader,
    token_variable: Option<&'static str>,
    url_variable: Option<Cow<'static, str>>,
    quirks: Quirks,
    /// Set for the names of OpenAI itself, which has headers for organisation and project.
    is_openai: bool,
}

/// Dialect of a vendor.
#[derive(Clone)]
enum VendorDialect {
    Known(Dialect),
    Own(Arc<dyn Protocol>),
}

/// Base URL of a vendor.
#[derive(Clone)]
enum Address {
    Url(String),
    OfTable(BaseUrl),
}

impl From<&Row> for Vendor {
    fn from(row: &Row) -> Self {
        Self {
            name: row.name.into(),
            dialect: VendorDialect::Known(row.dialect),
            address: Address::OfTable(row.base_url),
            key_variables: row.key_variables.iter().map(|variable| Cow::Borrowed(*variable)).collect(),
            needs_key: Some(row.needs_key),
            key_header: row.key_header.header(),
            token_variable: row.token_variable,
            url_variable: row.url_variable.map(Cow::Borrowed),
            quirks: Quirks { vendor: row.name, ..row.quirks },
            is_openai: row.name.starts_with("openai"),
        }
    }
}

impl Vendor {
    /// A vendor of chat completions. `name` is the part of a model's name before the first `/`: letters,
    /// digits, `-`, `_` and `.`. The paths of the dialect are appended to `base_url`.
    pub fn new(name: impl Into<String>, base_url: impl Into<String>) -> Self {
        Self {
            name: Cow::Owned(name.into()),
            dialect: VendorDialect::Known(Dialect::default()),
            address: Address::Url(base_url.into()),
            key_variables: Vec::new(),
            needs_key: None,
            key_header: KeyHeader::Bearer,
            token_variable: None,
            url_variable: None,
            quirks: Quirks::new(),
            is_openai: false,
        }
    }

    /// Dialect of its API. Default [`Dialect::OpenAiChat`].
    pub fn dialect(mut self, dialect: Dialect) -> Self {
        self.dialect = VendorDialect::Known(dialect);
        self
    }

    /// A dialect of your own, in place of [`dialect`](Self::dialect).
    pub fn protocol(mut self, protocol: impl Protocol) -> Self {
        self.dialect = VendorDialect::Own(Arc::new(protocol));
        self
    }

    /// Adds an environment variable for the key. The first one that is set is used. Default: none.
    pub fn key_variable(mut self, variable: impl Into<String>) -> Self {
        self.key_variables.push(Cow::Owned(variable.into()));
        self
    }

    /// Header that carries the key. Default [`KeyHeader::Bearer`].
    pub fn key_header(mut self, header: KeyHeader) -> Self {
        self.key_header = header;
        self
    }

    /// Set if a model without a key is an error. Default: set if there is a variable for the key.
    pub fn needs_key(mut self, needs_key: bool) -> Self {
        self.needs_key = Some(needs_key);
        self
    }

    /// Environment variable that replaces the base URL. Default: none.
    ///
    /// `OLLAMA_HOST` and `AZURE_OPENAI_ENDPOINT` are read like the programs of these vendors read them.
    pub fn url_variable(mut self, variable: impl Into<String>) -> Self {
        self.url_variable = Some(Cow::Owned(variable.into()));
        self
    }

    /// Deviations from OpenAI's chat completions and completions. Other dialects have none. Default: those
    /// common to compatible servers.
    pub fn quirks(mut self, quirks: Quirks) -> Self {
        self.quirks = quirks;
        self
    }

    /// Name of the vendor.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Shows its name.
impl fmt::Debug for Vendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vendor").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Vendor {
    /// The model of this vendor called `name`, which begins with the name of the vendor.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a name of another vendor, or an invalid name of the vendor.
    pub(crate) fn model<'a>(&self, name: &'a str) -> Result<&'a str> {
        self.check_name()?;
        let model = name.strip_prefix(&*self.name).and_then(|rest| rest.strip_prefix('/'));
        model.filter(|model| !model.is_empty()).ok_or_else(|| {
            let vendor = &self.name;
            let message = format!("`{name}` is not a model of the vendor `{vendor}`: write {vendor}/model");
            Error::new(ErrorKind::Config, message)
        })
    }

    fn check_name(&self) -> Result<()> {
        let is_valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !self.name.is_empty() && self.name.chars().all(is_valid) {
            return Ok(());
        }
        let message =
            format!("`{}` is not a valid name of a vendor: use letters, digits, -, _ and .", self.name);
        Err(Error::new(ErrorKind::Config, message))
    }

    /// Uses this protocol in place of its own.
    pub(crate) fn with_protocol(mut self, protocol: Arc<dyn Protocol>) -> Self {
        self.dialect = VendorDialect::Own(protocol);
        self
    }

    /// Its dialect, if it is one of this crate.
    pub(crate) fn known_dialect(&self) -> Option<Dialect> {
        match self.dialect {
            VendorDialect::Known(dialect) => Some(dialect),
            VendorDialect::Own(_) => None,
        }
    }

    pub(crate) fn known_quirks(&self) -> Quirks {
        self.quirks
    }

    /// OpenAI's name at another host, whose server may want reasoning back.
    pub(crate) fn at_another_host(mut self) -> Self {
        if self.quirks.send_back == SendBack::Nothing {
            self.quirks.send_back = SendBack::Signed;
        }
        self
    }

    /// Returns true if requests carry the organisation and project of OpenAI.
    pub(crate) fn is_openai(&self) -> bool {
        self.is_openai
    }

    /// Returns true if a model without a key is an error.
    pub(crate) fn requires_key(&self) -> bool {
        self.needs_key.unwrap_or(!self.key_variables.is_empty())
    }

    /// The first variable for the key.
    pub(crate) fn first_key_variable(&self) -> Option<&str> {
        self.key_variables.first().map(|variable| &**variable)
    }

    pub(crate) fn default_key_header(&self) -> KeyHeader {
        self.key_header.clone()
    }

    /// Its protocol, in the requested version.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if the dialect has no versions, or the version cannot be sent in a header.
    pub(crate) fn versioned_protocol(&self, version: Option<&str>) -> Result<Arc<dyn Protocol>> {
        if let Some(version) = version {
            return self.known_dialect().and_then(|dialect| dialect.versioned(version)).unwrap_or_else(
                || {
                    let message = format!("{} has no API version to choose: remove `api_version`", self.name);
                    Err(Error::new(ErrorKind::Config, message))
                },
            );
        }
        Ok(match &self.dialect {
            VendorDialect::Known(dialect) => dialect.protocol(self.quirks),
            VendorDialect::Own(protocol) => protocol.clone(),
        })
    }

    /// The base URL, from the environment if it is set there.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if the vendor has no default and the environment variable is unset.
    pub(crate) fn url(&self, env: &dyn Fn(&str) -> Option<String>) -> Result<String> {
        let given = self.url_variable.as_deref().and_then(|variable| Some((variable, set(env, variable)?)));
        let base_url = match (given, &self.address) {
            (Some((OLLAMA_HOST, host)), _) => return Ok(ollama_url(&host)),
            (Some((AZURE_ENDPOINT, resource)), _) => return Ok(azure_url(&resource)),
            (Some((DATABRICKS_HOST, workspace)), _) => return Ok(databricks_url(&workspace)),
            (Some((_, url)), _) => return Ok(url),
            (None, Address::Url(url)) => return Ok(url.clone()),
            (None, Address::OfTable(base_url)) => *base_url,
        };
        match base_url {
            BaseUrl::At(url) => Ok(url.to_owned()),
            BaseUrl::Own => Err(self.unset(self.url_variable.as_deref().unwrap_or("the base URL"))),
            BaseUrl::Region { url, variables } => {
                let region = variables.iter().find_map(|variable| set(env, variable));
                Ok(url.replace("{}", &region.ok_or_else(|| self.unset(variables[0]))?))
            }
        }
    }

    /// Base URL without the paths of the API, which some users include.
    pub(crate) fn base<'a>(&self, url: &'a str) -> &'a str {
        match self.known_dialect() {
            Some(dialect) => dialect.base(url),
            None => url,
        }
    }

    fn unset(&self, variable: &str) -> Error {
        let message = format!("{variable} is not set: export it, or set the base URL of {}", self.name);
        Error::new(ErrorKind::Config, message)
    }

    /// The key from the environment, if set, and the header that carries it.
    pub(crate) fn key(&self, env: &dyn Fn(&str) -> Option<String>) -> Option<(String, KeyHeader)> {
        let key = self.key_variables.iter().find_map(|variable| set(env, variable));
        let token = || Some((set(env, self.token_variable?)?, KeyHeader::Bearer));
        key.map(|key| (key, self.key_header.clone())).or_else(token)
    }
}

/// Interprets `OLLAMA_HOST` like Ollama's own programs: scheme and port are optional, and a server that
/// listens on all addresses is reached at `localhost`.
fn ollama_url(host: &str) -> String {
    let (scheme, rest) = host.split_once("://").unwrap_or(("http", host));
    let rest = rest.trim_end_matches('/');
    let (authority, path) = rest.split_once('/').map_or((rest, ""), |(authority, path)| (authority, path));
    let has_port = authority.rsplit(']').next().is_some_and(|end| end.contains(':'));
    let (name, port) = match authority.rsplit_once(':').filter(|_| has_port) {
        Some((name, port)) => (name, format!(":{port}")),
        None if scheme == "https" => (authority, String::new()),
        None => (authority, ":11434".to_owned()),
    };
    let name = if matches!(name, "" | "0.0.0.0" | "[::]") { "localhost" } else { name };
    let slash = if path.is_empty() { "" } else { "/" };
    format!("{scheme}://{name}{port}{slash}{path}")
}

/// The API of a workspace, whose host is written with or without its scheme.
fn databricks_url(workspace: &str) -> String {
    let scheme = if workspace.contains("://") { "" } else { "https://" };
    let workspace = workspace.trim_end_matches('/').trim_end_matches("/serving-endpoints");
    format!("{scheme}{workspace}/serving-endpoints")
}

/// The API of a resource, which has no version in its path.
fn azure_url(resource: &str) -> String {
    let resource = resource.trim_end_matches('/');
    match resource.ends_with("/v1") {
        true => resource.to_owned(),
        false => format!("{}/openai/v1", resource.trim_end_matches("/openai")),
    }
}

#[cfg(test)]
mod tests;
