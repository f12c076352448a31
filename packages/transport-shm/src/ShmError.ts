/** Errors of the native side as `TransportError`s: what, where and what to do next. */
import {
  TransportBadRequest,
  TransportClosed,
  TransportError,
  type TransportErrorReason,
  TransportExhausted,
  TransportIncompatible,
  TransportNotConnected
} from "@data-manager/core"

const reasonOf = (code: string, detail: string, where: string): TransportErrorReason => {
  switch (code) {
    case "DM_MISSING":
      return new TransportNotConnected({
        detail: `nobody has published under ${where}`,
        hint: "start the publication, or check name and directory"
      })
    case "DM_BUSY":
      return new TransportNotConnected({
        detail: `another producer holds ${where}`,
        hint: "stop it, or publish under another name"
      })
    case "DM_VERSION":
      return new TransportIncompatible({
        detail: `${where} has another ABI major version than 1`,
        hint: "upgrade the older side"
      })
    case "DM_NOT_A_RING":
      return new TransportIncompatible({
        detail: `${where} is not a ring`,
        hint: "use another name, or remove the file if nobody needs it"
      })
    case "DM_LAYOUT":
      return new TransportIncompatible({
        detail: `${where} is damaged`,
        hint: "stop the producer and remove the files with `dm ring clean`"
      })
    case "DM_OWNER":
      return new TransportIncompatible({
        detail: `${where} or its directory has another owner, foreign write permission or the wrong file type`,
        hint: "set the owner option to the user id of the producer, or remove what does not belong there"
      })
    case "DM_DENIED":
      return new TransportIncompatible({
        detail: `${where} is not open to this user: ${detail}`,
        hint: "let the user join the group of the directory, and the producer say groupReadable"
      })
    case "DM_NO_SPACE":
      return new TransportExhausted({
        detail: `no space for ${where}: ${detail}`,
        hint: "lower the capacity, or enlarge the file system (containers: --shm-size)"
      })
    case "DM_FULL":
      return new TransportExhausted({
        detail: `no free reader row or dictionary entry in ${where}`,
        hint: "close readers (128 at most), or raise the instruments option"
      })
    case "DM_REWOUND":
      return new TransportIncompatible({
        detail: `the write position of ${where} went backwards: somebody else wrote to the file`,
        hint: "check who may write to the directory"
      })
    case "DM_CLOSED":
      return new TransportClosed({ detail })
    case "DM_ARGUMENT":
      return new TransportBadRequest({ detail: `${where}: ${detail} is out of range` })
    default:
      return new TransportNotConnected({ detail: `${where}: ${detail}`, hint: "see the system error" })
  }
}

/** An error with the reason that belongs to a native code. */
export const fromCode = (operation: string, where: string, code: string, detail: string, cause?: unknown) =>
  new TransportError({ transport: "shm", operation, reason: reasonOf(code, detail, where), cause })

/** Any thrown value as a `TransportError`. */
export const fromThrown = (operation: string, where: string, cause: unknown): TransportError => {
  if (cause instanceof TransportError) return cause
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : ""
  return fromCode(operation, where, code, cause instanceof Error ? cause.message : String(cause), cause)
}

/** A request that cannot be served as asked. */
export const badRequest = (operation: string, detail: string): TransportError =>
  new TransportError({ transport: "shm", operation, reason: new TransportBadRequest({ detail }) })
