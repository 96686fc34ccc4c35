use std::io;
use std::task::{Context, Poll, ready};

/// Wakes at a time, by the microsecond: the runtime's own timers know milliseconds only, which would
/// show in every latency of an open loop.
pub struct Alarm {
    timer: Timer,
    /// When it goes off; `u64::MAX`: never.
    at: u64,
}

impl Alarm {
    pub fn new() -> io::Result<Self> {
        Ok(Self { timer: Timer::new()?, at: u64::MAX })
    }

    /// It is to go off at this time, or earlier if that was asked for before.
    pub fn set(&mut self, at: u64, now: u64) -> io::Result<()> {
        if at < self.at {
            self.at = at;
            // A time of nothing would stop it.
            self.timer.start(at.saturating_sub(now).max(1))?;
        }
        Ok(())
    }

    /// Ready once for each time that it goes off.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.at == u64::MAX {
            return Poll::Pending;
        }
        ready!(self.timer.poll(context))?;
        self.at = u64::MAX;
        Poll::Ready(Ok(()))
    }
}

#[cfg(target_os = "linux")]
use linux::Timer;

#[cfg(target_os = "linux")]
mod linux {
    use super::{Context, Poll, io, ready};
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    pub struct Timer(AsyncFd<std::os::fd::OwnedFd>);

    impl Timer {
        #[expect(
            deprecated,
            reason = "unsound for what does not own its descriptor; this does, and `unsafe` is forbidden"
        )]
        pub fn new() -> io::Result<Self> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            Ok(Self(AsyncFd::with_interest(timer, Interest::READABLE)?))
        }

        pub fn start(&self, nanos: u64) -> io::Result<()> {
            let none = Timespec { tv_sec: 0, tv_nsec: 0 };
            let it_value =
                Timespec { tv_sec: (nanos / 1_000_000_000) as _, tv_nsec: (nanos % 1_000_000_000) as _ };
            let time = Itimerspec { it_interval: none, it_value };
            timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &time)?;
            Ok(())
        }

        pub fn poll(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            loop {
                let mut guard = ready!(self.0.poll_read_ready(context))?;
                let mut expirations = [0; 8];
                match guard.try_io(|timer| Ok(rustix::io::read(timer, &mut expirations)?)) {
                    Ok(read) => return Poll::Ready(read.map(drop)),
                    // It was set anew before it was looked at.
                    Err(_would_block) => {}
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
use elsewhere::Timer;

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use super::{Context, Poll, io};
    use std::future::Future;
    use std::pin::Pin;
    use std::time::Duration;
    use tokio::time::{Instant, Sleep, sleep};

    pub struct Timer(Pin<Box<Sleep>>);

    impl Timer {
        pub fn new() -> io::Result<Self> {
            Ok(Self(Box::pin(sleep(Duration::ZERO))))
        }

        pub fn start(&mut self, nanos: u64) -> io::Result<()> {
            self.0.as_mut().reset(Instant::now() + Duration::from_nanos(nanos));
            Ok(())
        }

        pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.0.as_mut().poll(context).map(Ok)
        }
    }
}
