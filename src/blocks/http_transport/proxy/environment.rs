//! What environment variables say of proxies.

use std::ffi::OsString;

use super::{NoProxy, ProxyRules, ProxyUrl};
use crate::ground::config_error::ConfigError;

/// Pure: `variable` is the environment.
pub(in crate::blocks::http_transport) fn rules(
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<ProxyRules, ConfigError> {
    let text = |names: [&'static str; 2]| {
        let set = names.map(|name| Some((name, variable(name).filter(|it| !it.is_empty())?)));
        let [lower, upper] = set;
        let Some((name, value)) = lower.or(upper) else { return Ok(None) };
        let value = value.into_string();
        let text = value.map_err(|_| ConfigError::invalid(name, "no text", "text in UTF-8"))?;
        Ok(Some((name, text)))
    };
    let url = |names| {
        let Some((name, text)) = text(names)? else { return Ok(None) };
        let allowed = "the url of a proxy: [http[s]://][user[:password]@]host[:port]";
        let url = text.trim().parse::<ProxyUrl>();
        url.map(Some).map_err(|why| ConfigError::invalid(name, why, allowed))
    };
    // Whoever sends a request to a CGI program sets its HTTP_PROXY: by a header called Proxy.
    let http = match variable("REQUEST_METHOD") {
        Some(_) => None,
        None => url(["http_proxy", "HTTP_PROXY"])?,
    };
    let https = url(["https_proxy", "HTTPS_PROXY"])?;
    let all = url(["all_proxy", "ALL_PROXY"])?;
    let no_proxy = match text(["no_proxy", "NO_PROXY"])? {
        None => NoProxy::default(),
        Some((name, text)) => text.parse::<NoProxy>().map_err(|why| {
            let allowed = "names, addresses and networks with commas between them, or *";
            ConfigError::invalid(name, why, allowed)
        })?,
    };
    Ok(ProxyRules { http: http.or_else(|| all.clone()), https: https.or(all), no_proxy })
}
