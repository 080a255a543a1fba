/** The build of msgpackr that makes no functions from text, so that it runs under a strict content security policy. It comes without types. */
declare module 'msgpackr/index-no-eval' {
  export { Packr, Unpackr } from 'msgpackr';
}
