{
  # node-gyp, prebuildify and npm's own habits come in here; the build itself is CMakeLists.txt.
  "targets": [
    {
      "target_name": "sam3-node-by-cmake",
      "type": "none",
      "actions": [
        {
          "action_name": "cmake",
          "message": "Building the addon with CMake",
          "inputs": ["CMakeLists.txt"],
          "outputs": ["<(PRODUCT_DIR)/.cmake-always-runs"],
          "action": ["node", "scripts/build-native.mjs", "--no-tests"]
        }
      ]
    }
  ]
}
