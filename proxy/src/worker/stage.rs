//! For tests: a router in front of a cluster that nobody has found yet, and clients whose sockets are real. What
//! it is asked is answered by its methods; nothing is flushed.

use super::Message;
use super::fleet::Fleet;
use super::router::{BackendContext, Router, SharedRouter};
use crate::admin::counters::Registry;
use crate::backend::connection::ClientKey;
use crate::client::state::{Admission, ListenerContext};
use crate::topology::publish::Published;
use pointsman_protocol::resp::args::OwnedArgs;
use pointsman_protocol::resp::encode;
use std::rc::Rc;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// See the module's head.
pub struct Stage {
    pub router: SharedRouter,
    listener: Rc<ListenerContext>,
    /// The only worker's messages; nobody answers them.
    _inbox: mpsc::Receiver<Message>,
    _messages: mpsc::Sender<Message>,
}

impl Stage {
    /// With more lines of the backend's configuration.
    pub fn with(extra: &str) -> Stage {
        let text = format!("backends: {{ main: {{ cluster: {{ seeds: [\"127.0.0.1:1\"] }}, {extra} }} }}\n");
        let read = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
        let config = pointsman_config::parse(&text, "stage.yaml", &|_| None, &read).unwrap();
        let fleet = Arc::new(Fleet::default());
        let (messages, inbox) = mpsc::channel(16);
        fleet.complete(vec![messages.downgrade()]);
        let (published, registry) = (Arc::new(Published::default()), Arc::new(Registry::default()));
        let context = BackendContext::new(&config.backends[0], published, registry, fleet);
        let listener = Rc::new(ListenerContext::new(&config.listeners[0], Arc::default()));
        Stage { router: Router::new(Arc::new(context), 1), listener, _inbox: inbox, _messages: messages }
    }

    /// A client, and its own end of the socket.
    pub async fn client(&self) -> (ClientKey, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, address) = listener.accept().await.unwrap();
        let admission = Admission::new(Arc::default(), Arc::default());
        let mut router = self.router.borrow_mut();
        router.add_client(stream, address, self.listener.clone(), admission);
        let index = router.clients.len() - 1;
        (ClientKey { index: index as u32, generation: router.generation }, own)
    }

    /// Has a client say something.
    pub fn say(&self, key: ClientKey, words: &[&str]) {
        let (owned, mut frame) = (OwnedArgs::new(words), Vec::new());
        encode::request_args(&mut frame, owned.args());
        self.router.borrow_mut().request(key, &frame, owned.args(), false);
    }
}
