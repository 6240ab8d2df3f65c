"""Between sources and the manager: routers choose by stream, adapters turn paths into loaders."""
