//! A SoftHSM token behind a link, as network HSMs are: `p11-kit server` on a unix socket.

use super::places::{leave_out, place_of};
use super::process::leashed;
use super::token::softhsm_module;
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

/// The far end of the link. Dropping it cuts the link.
pub struct RemoteToken {
    server: Child,
}

impl RemoteToken {
    /// The near end, a PKCS#11 module. `None`, with a printed line, unless both ends are installed; with
    /// `SIEGEL_NEED_P11_KIT=1` that is a failure instead.
    pub fn module() -> Option<PathBuf> {
        let module = place_of("p11-kit-client").filter(|_| place_of("p11-kit-server").is_some());
        if module.is_none() {
            let what = "the packages p11-kit and p11-kit-modules are not installed";
            leave_out("SIEGEL_NEED_P11_KIT", what);
        }
        module
    }

    /// A configuration whose SoftHSM token is behind a link; `None` where there is no link.
    pub fn in_front_of(config: &str, socket: &Path) -> Option<String> {
        let remote = config
            .replace(
                softhsm_module().to_str().unwrap(),
                Self::module()?.to_str().unwrap(),
            )
            .replace(
                "SOFTHSM2_CONF = \"softhsm2.conf\"",
                &format!(
                    "P11_KIT_SERVER_ADDRESS = \"unix:path={}\"",
                    socket.display()
                ),
            );
        assert_ne!(remote, config, "the token is named otherwise");
        Some(remote)
    }

    /// Offers all tokens of a SoftHSM folder on a socket.
    pub fn start(socket: &Path, softhsm_conf: &Path) -> Self {
        let _ = fs::remove_file(socket);
        let mut command = leashed(Path::new("p11-kit"), None);
        command
            .args(["server", "--foreground", "--provider"])
            .arg(softhsm_module())
            .arg("--name")
            .arg(socket)
            .arg("pkcs11:")
            .env("SOFTHSM2_CONF", softhsm_conf)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Each connection has a process of its own; all of them shall end together.
            .process_group(0);
        let server = command.spawn().unwrap();
        let listens = || UnixStream::connect(socket).ok();
        crate::http::client::wait_for("the link", listens);
        Self { server }
    }
}

impl Drop for RemoteToken {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.server), Signal::KILL);
        let _ = self.server.wait();
    }
}
