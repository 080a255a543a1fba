/**
 * What keeps web pages away from a node on this machine.
 *
 * A page of any site may make the visitor's browser talk to 127.0.0.1. Three ways in, and what shuts each:
 *  - *cross-site requests*: a form or `fetch` to http://127.0.0.1:7717. Browsers name the page's origin in `Origin`, and
 *    its relation in `Sec-Fetch-Site`: anything but our own origin is refused. (The API also asks for the content type
 *    application/json, which no form can send.)
 *  - *WebSockets* to ws://127.0.0.1:7717 know no CORS at all: the same check of `Origin` must stand at the upgrade.
 *  - *DNS rebinding*: evil.example is made to resolve to 127.0.0.1, and the page is of our origin as the browser sees it.
 *    The `Host` header still says evil.example: only names of this machine's loopback are taken.
 *
 * Programs other than browsers send no `Origin` and are not held back here.
 */
import type { IncomingMessage } from 'node:http';

const LOOPBACK_NAME = /^(localhost|127(?:\.\d{1,3}){3}|\[::1\])$/i;
const LOOPBACK_ADDRESS = /^(::1|127(?:\.\d{1,3}){3})$/;

/** An address of IPv4, as a socket of IPv6 calls it, by its own name. */
const plain = (address: string | undefined): string => (address ?? '').replace(/^::ffff:/, '');

/** Whether the other end of the connection is a process on this machine: over the loopback, or from an address to itself. */
export function isOnThisMachine({ socket }: IncomingMessage): boolean {
  const remote = plain(socket.remoteAddress);
  return LOOPBACK_ADDRESS.test(remote) || (remote !== '' && remote === plain(socket.localAddress));
}

/** Whether `Host` is a name that no stranger's DNS can point here: one of the loopback, or the address that was reached. */
export function isOwnHost({ headers, socket }: IncomingMessage): boolean {
  const [, name = ''] = /^(.*?)(?::\d{1,5})?$/.exec(headers.host ?? '') ?? [];
  const own = plain(socket.localAddress);
  return LOOPBACK_NAME.test(name) || (name !== '' && name === (own.includes(':') ? `[${own}]` : own));
}

/** Whether a browser says that a page of another origin is behind this request. */
export function isForeignPage(request: IncomingMessage): boolean {
  const { origin, host, 'sec-fetch-site': site } = request.headers;
  if (site !== undefined && site !== 'same-origin' && site !== 'none') return true;
  return origin !== undefined && !(origin === `http://${host}` && isOwnHost(request));
}

/** Why an upgrade to a WebSocket must be refused (with status 403), undefined when it need not. */
export function refusalOfUpgrade(request: IncomingMessage): string | undefined {
  if (!isForeignPage(request)) return undefined;
  return `a web page of ${request.headers.origin ?? 'another site'} may not open a connection to this node`;
}
