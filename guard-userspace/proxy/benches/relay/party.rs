//! A thread with a runtime of its own, whose CPU time can be read.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
};

/// A server on a thread of its own, until the process ends.
pub(crate) struct Party {
    pub(crate) address: SocketAddr,
    ask: mpsc::UnboundedSender<oneshot::Sender<Duration>>,
}

impl Party {
    /// Starts it. `set_up` runs on its thread and returns what serves a connection.
    pub(crate) fn start<F, S, R>(name: &str, set_up: F) -> Self
    where
        F: FnOnce() -> S + Send + 'static,
        S: Fn(TcpStream) -> R,
        R: Future<Output = ()> + Send + 'static,
    {
        let (ready, started) = std::sync::mpsc::channel();
        let (ask, mut asked) = mpsc::unbounded_channel::<oneshot::Sender<Duration>>();
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let serve = set_up();
                let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
                ready.send(listener.local_addr().unwrap()).unwrap();
                loop {
                    tokio::select! {
                        Ok((tcp, _)) = listener.accept() => {
                            tcp.set_nodelay(true).unwrap();
                            tokio::spawn(serve(tcp));
                        }
                        Some(answer) = asked.recv() => drop(answer.send(thread_cpu_time())),
                    }
                }
            });
        };
        std::thread::Builder::new().name(name.to_owned()).spawn(run).unwrap();
        Self { address: started.recv().unwrap(), ask }
    }

    /// CPU time of the thread so far.
    pub(crate) fn cpu_time(&self) -> Duration {
        let (answer, mut answered) = oneshot::channel();
        self.ask.send(answer).unwrap();
        loop {
            match answered.try_recv() {
                Ok(time) => return time,
                Err(_) => std::thread::yield_now(),
            }
        }
    }
}

fn thread_cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}
