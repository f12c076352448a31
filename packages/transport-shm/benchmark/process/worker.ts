// The sending thread of the benchmarks: 64 buffers of `workerData` bytes, each filled and sent again when it comes back.
import { parentPort, workerData } from "node:worker_threads"

const port = parentPort!
const records = new Uint8Array(workerData).fill(1)
const send = (buffer: ArrayBuffer): void => {
  new Uint8Array(buffer).set(records)
  port.postMessage(buffer, [buffer])
}
port.on("message", send)
for (let k = 0; k < 64; k++) send(new ArrayBuffer(workerData))
