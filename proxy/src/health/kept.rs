//! Questions over a connection that is kept from one round to the next.
//!
//! One that was kept may have been closed meanwhile (`timeout`, CLIENT KILL, a restart): that is no news
//! about the node, so it is asked once more over a new one.

use crate::topology::fetch::Control;
use pointsman_config::Backend;
use pointsman_protocol::HostPort;

/// Asks a node, and gives the connection to be kept with the answer.
///
/// # Errors
/// What went wrong over a new connection, in words.
pub async fn ask<T>(
    node: &HostPort,
    backend: &Backend,
    kept: Option<Control>,
    question: impl AsyncFn(&mut Control) -> Result<T, String>,
) -> Result<(T, Control), String> {
    if let Some(mut control) = kept
        && let Ok(answer) = question(&mut control).await
    {
        return Ok((answer, control));
    }
    let mut control = Control::connect(node, backend).await?;
    let answer = question(&mut control).await?;
    Ok((answer, control))
}
