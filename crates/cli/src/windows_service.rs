//! The daemon as a service of Windows.
//!
//! Windows' service manager starts the program, which must connect to it within seconds, and calls the service's main
//! function on a thread of its own (<https://learn.microsoft.com/en-us/windows/win32/services/service-programs>). What
//! it tells the service afterwards comes to the control handler: stopping it, and shutting the machine down, cancel
//! the same token that Ctrl-C does in a console.

use std::ffi::OsString;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing_appender::rolling::{RollingFileAppender, Rotation};
use windows_service::service::{
    ServiceControl, ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_control_handler::{self, ServiceControlHandlerResult, ServiceStatusHandle};
use windows_service::{define_windows_service, service_dispatcher};

use crate::args::Cli;
use crate::exit::{Exit, Failure};

/// A stop takes less than ten seconds; the manager is told a little more.
const STOP_HINT: Duration = Duration::from_secs(12);

/// Files of log lines that are kept, one for each day.
const LOGS_KEPT: usize = 14;

/// What the service's main function has to do: it is handed nothing by the one who starts it.
static ASKED: Mutex<Option<Asked>> = Mutex::new(None);
static ENDED: Mutex<Option<Result<Exit, Failure>>> = Mutex::new(None);
/// Whom the control handler tells that it has understood; it is registered before there is anyone.
static MANAGER: OnceLock<ServiceStatusHandle> = OnceLock::new();

struct Asked {
    service: String,
    cli: Cli,
}

define_windows_service!(called_by_windows, service_main);

/// Runs `cli` as `service` until the service manager ends it.
///
/// # Errors
/// When this process was not started by the service manager, and what the command itself fails with.
pub(crate) fn run(service: &str, cli: Cli) -> Result<Exit, Failure> {
    put(&ASKED, Asked { service: service.to_owned(), cli });
    service_dispatcher::start(service, called_by_windows).map_err(|error| not_a_service(service, &error))?;
    take(&ENDED).unwrap_or_else(|| Err(Failure::new(format!("the service {service} ended before it began"))))
}

/// Where the log lines of a service go: a file for each day, beside the configuration.
///
/// # Errors
/// When the folder cannot be written.
pub(crate) fn log_files(service: &str, config: &Path) -> Result<RollingFileAppender, Failure> {
    let folder = config.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    RollingFileAppender::builder()
        .rotation(Rotation::DAILY)
        .filename_prefix(service)
        .filename_suffix("log")
        .max_log_files(LOGS_KEPT)
        .build(folder)
        .map_err(|error| {
            Failure::new(format!("log files cannot be written in {}", folder.display()))
                .caused_by(&error)
                .for_the_data("nothing was read and nothing was sent")
                .with_hint("let the service's account write there")
        })
}

fn service_main(_arguments: Vec<OsString>) {
    let Some(Asked { service, cli }) = take(&ASKED) else { return };
    let stop = CancellationToken::new();
    let ended = match register(&service, stop.clone()) {
        Ok(manager) => {
            let manager = MANAGER.get_or_init(|| manager);
            tell(manager, ServiceState::Running, 0);
            let ended = crate::execute(cli, Some(stop));
            if let Err(failure) = &ended {
                tracing::error!("{failure}");
            }
            let exit: Exit = ended.as_ref().map_or_else(Failure::exit, |exit| *exit);
            tell(manager, ServiceState::Stopped, u32::from(exit.code()));
            ended
        }
        Err(error) => Err(not_a_service(&service, &error)),
    };
    put(&ENDED, ended);
}

fn register(service: &str, stop: CancellationToken) -> windows_service::Result<ServiceStatusHandle> {
    let handler = move |control| match control {
        ServiceControl::Stop | ServiceControl::Shutdown => {
            if let Some(manager) = MANAGER.get() {
                tell(manager, ServiceState::StopPending, 0);
            }
            stop.cancel();
            ServiceControlHandlerResult::NoError
        }
        ServiceControl::Interrogate => ServiceControlHandlerResult::NoError,
        _ => ServiceControlHandlerResult::NotImplemented,
    };
    service_control_handler::register(service, handler)
}

/// Tells the manager how the service is; an exit code other than 0 lets it start the service anew.
fn tell(manager: &ServiceStatusHandle, state: ServiceState, exit_code: u32) {
    let controls_accepted = match state {
        ServiceState::Running => ServiceControlAccept::STOP | ServiceControlAccept::SHUTDOWN,
        _ => ServiceControlAccept::empty(),
    };
    let status = ServiceStatus {
        service_type: ServiceType::OWN_PROCESS,
        current_state: state,
        controls_accepted,
        exit_code: match exit_code {
            0 => ServiceExitCode::NO_ERROR,
            code => ServiceExitCode::ServiceSpecific(code),
        },
        checkpoint: 0,
        wait_hint: if state == ServiceState::StopPending { STOP_HINT } else { Duration::ZERO },
        process_id: None,
    };
    if let Err(error) = manager.set_service_status(status) {
        tracing::warn!("the service manager could not be told: {error}");
    }
}

fn not_a_service(service: &str, error: &windows_service::Error) -> Failure {
    Failure::new(format!("the service manager does not know this process as the service {service}"))
        .caused_by(error)
        .for_the_data("nothing was read and nothing was sent")
        .with_hint("start the service by `sc.exe start`, or in a console leave --windows-service out")
}

fn put<T>(place: &Mutex<Option<T>>, value: T) {
    *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
}

fn take<T>(place: &Mutex<Option<T>>) -> Option<T> {
    place.lock().unwrap_or_else(PoisonError::into_inner).take()
}
