;; Describes, rather than brings, a family that is the node's own.
(module
  (memory (export "memory") 2)
  (global $heap (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    global.get $heap
    (global.set $heap
      (i32.and (i32.add (i32.add (global.get $heap) (local.get 3)) (i32.const 15)) (i32.const -16))))
  (data (i32.const 1024) "sonde_sensor_up")
  (data (i32.const 2048) (i32 1024 15 1 0 0 0 0 0 0))
  ;; families
  (data (i32.const 16) (i32 0 2048 1))
  (func (export "describe") (result i32) (i32.const 16))
  (func (export "collect") (result i32)
    (i32.const 64))
)
