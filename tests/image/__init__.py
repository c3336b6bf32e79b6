"""The Dockerfile built by buildah on a base of Debian's packages, and run."""
