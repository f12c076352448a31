/** Node's file system. */
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as NodePath from "@effect/platform-node/NodePath"
import { Layer } from "effect"

export const Files = Layer.mergeAll(NodeFileSystem.layer, NodePath.layer)
