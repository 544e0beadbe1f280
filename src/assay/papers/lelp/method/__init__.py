from .projector import SubspaceProjector
